"""Exposure is a setting that lets strangers in, or lets them listen."""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from sqlalchemy import make_url

from workers.doctor.line import Line, ok, wrong
from workers.settings import Settings
from workers.users import user

_LISTENED: Final = "if no stranger can be on the way: export DUTIFUL_PRIVATE_NETWORK=true"


def exposure(chosen: Settings) -> list[Line]:
    """What these settings leave open."""
    found = []
    addresses = [urlsplit(address) for address in chosen.rabbitmq.url.get_secret_value().split(";")]
    for address in addresses:
        found += _broker(address, as_worker(addresses), private=chosen.private_network)
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
                mend=f"export DUTIFUL_METRICS__HOST=127.0.0.1 # or, {_LISTENED}",
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


def as_worker(addresses: Iterable[SplitResult]) -> str:
    """The command that gives these addresses the worker's user, as `dutiful users declare` makes it."""
    given = []
    for each in addresses:
        who = quote(user(unquote(each.path[1:]) or "/", "worker"), safe="")
        place = each.netloc.rpartition("@")[2]
        given.append(each._replace(netloc=f"{who}:$DUTIFUL_USERS__WORKER_PASSWORD@{place}").geturl())
    return f'export DUTIFUL_RABBITMQ__URL="{";".join(given)}"'


def _broker(address: SplitResult, mended: str, *, private: bool) -> list[Line]:
    host, name = address.hostname, unquote(address.username or "guest")
    if is_loopback(host):
        return []
    found = []
    if name == "guest" or unquote(address.password or "guest") == name:
        found.append(
            wrong(
                "exposure",
                f"the user of RabbitMQ at {host} has a password that everybody knows",
                expected="a user of its own, with a drawn password",
                received="the user guest" if name == "guest" else f"the user {name}, with its name as the password",
                mend=f"dutiful users declare; {mended}",
            )
        )
    if address.scheme == "amqp" and not private:
        found.append(
            wrong(
                "exposure",
                f"password and jobs go to {host} in plain text",
                expected="DUTIFUL_RABBITMQ__URL with amqps://",
                received="amqp://",
                mend=f"# use amqps://, as docs/security.md says; or, {_LISTENED}",
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
            mend=f"# use https://, as docs/security.md says; or, {_LISTENED}",
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
            mend=f"export DUTIFUL_STORE__CA_PATH=/PATH/TO/ca.pem # or, {_LISTENED}",
        )
    ]
