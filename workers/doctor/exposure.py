"""Exposure is a setting that lets strangers in, or lets them listen."""

from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from sqlalchemy import make_url

from workers.doctor.line import Line, ok, wrong
from workers.settings import Settings

_LISTENED: Final = "export DUTIFUL_PRIVATE_NETWORK=true, if no stranger can be on the way"


def exposure(chosen: Settings) -> list[Line]:
    """What these settings leave open."""
    found = []
    for address in chosen.rabbitmq.url.get_secret_value().split(";"):
        found += _broker(urlsplit(address), private=chosen.private_network)
    management = chosen.rabbitmq.management_url
    if management is not None:
        found += _management(urlsplit(management.get_secret_value()), private=chosen.private_network)
    found += [] if chosen.private_network else _store(chosen)
    # An empty one means every address here, not loopback.
    if not chosen.private_network and not (chosen.metrics.host and is_loopback(chosen.metrics.host)):
        found.append(
            wrong(
                "exposure",
                "whoever reaches this host can read /metrics",
                expected="DUTIFUL_METRICS__HOST on loopback, or a network without strangers",
                received=chosen.metrics.host,
                mend="export DUTIFUL_METRICS__HOST=127.0.0.1, or DUTIFUL_PRIVATE_NETWORK=true",
            )
        )
    return found or ok("exposure", "no known door is open")


def is_loopback(host: str | None) -> bool:
    """Whether an address leads to this host itself."""
    if not host or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _broker(address: SplitResult, *, private: bool) -> list[Line]:
    host, user = address.hostname, unquote(address.username or "guest")
    if is_loopback(host):
        return []
    found = []
    if user == "guest" or unquote(address.password or "guest") == user:
        found.append(
            wrong(
                "exposure",
                f"the user of RabbitMQ at {host} has a password that everybody knows",
                expected="a user of its own, with a drawn password",
                received="the user guest" if user == "guest" else f"the user {user}, with its name as the password",
                mend="dutiful users declare, then set DUTIFUL_RABBITMQ__URL",
            )
        )
    if address.scheme == "amqp" and not private:
        found.append(
            wrong(
                "exposure",
                f"password and jobs go to {host} in plain text",
                expected="DUTIFUL_RABBITMQ__URL with amqps://",
                received="amqp://",
                mend=f"use amqps://; or {_LISTENED}",
            )
        )
    return found


def _management(address: SplitResult, *, private: bool) -> list[Line]:
    if address.scheme == "https" or private or is_loopback(address.hostname):
        return []
    return [
        wrong(
            "exposure",
            f"a password goes to the management page of {address.hostname} in plain text",
            expected="DUTIFUL_RABBITMQ__MANAGEMENT_URL with https://",
            received="http://",
            mend=f"use https://; or {_LISTENED}",
        )
    ]


def _store(chosen: Settings) -> list[Line]:
    url = make_url(chosen.store.url.get_secret_value())
    mode = url.query.get("sslmode", "prefer")
    host = str(url.query.get("host", url.host) or "")
    is_checked = chosen.store.ca_path is not None or mode == "verify-full"
    if not url.drivername.startswith("postgresql") or is_checked or host.startswith("/") or is_loopback(host):
        return []
    return [
        wrong(
            "exposure",
            f"nothing makes sure that {host} is the store, nor that nobody listens",
            expected="DUTIFUL_STORE__CA_PATH, which asks for TLS and checks the certificate",
            received=f"sslmode={mode}",
            mend=f"export DUTIFUL_STORE__CA_PATH=/PATH/TO/ca.pem; or {_LISTENED}",
        )
    ]
