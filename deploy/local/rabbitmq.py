"""Prepares a private RabbitMQ node that shares nothing with any other on this host."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from deploy.local.addresses import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DATA = "/var/lib/rabbitmq"
CONFIGURATION = "/etc/rabbitmq/conf.d/20-dutiful.conf"
ADVANCED = "/etc/rabbitmq/advanced.config"
PLUGINS = "/etc/rabbitmq/enabled_plugins"
AMQP, MANAGEMENT, METRICS, EPMD, DISTRIBUTION = 5672, 15672, 15692, 4369, 25672
EXTRA_PORTS = (EPMD, DISTRIBUTION)

# Erlang nodes find each other through epmd, which Erlang starts by itself and leaves behind. Ours has a port of its own
# and is started here, in the service's process group, so that it ends with the service. `exec`, and the variable
# RUNNING_UNDER_SYSTEMD below, make the node itself the process that is signalled.
START = """
epmd -address "$ERL_EPMD_ADDRESS" -port "$ERL_EPMD_PORT" &
until (exec 3<>"/dev/tcp/$ERL_EPMD_ADDRESS/$ERL_EPMD_PORT") 2>/dev/null; do sleep 0.05; done
exec "$0"
"""


def command(program: Path) -> list[str]:
    """Return what starts epmd and then becomes the node."""
    return ["bash", "-c", START, str(program)]


def prepare(folder: Path, ports: Mapping[int, int], paths: Mapping[str, Path]) -> dict[str, str]:
    """Write the node's files and return its environment."""
    data = paths[DATA]
    for place in (folder, data):
        place.mkdir(parents=True, exist_ok=True)
    cookie = data / ".erlang.cookie"
    if not cookie.exists():
        cookie.touch(mode=0o600)
        cookie.write_text(secrets.token_hex(20))
        cookie.chmod(0o400)
    configuration = folder / "rabbitmq.conf"
    configuration.write_text(paths[CONFIGURATION].read_text(encoding="utf-8") + _listeners(ports), encoding="utf-8")
    erlang = [
        "+sbwt none +sbwtdcpu none +sbwtdio none",  # idle schedulers sleep instead of spinning
        "-kernel inet_dist_use_interface {127,0,0,1}",
    ]
    return {
        "HOME": str(data),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(ports[EPMD]),
        "RUNNING_UNDER_SYSTEMD": "true",
        "RABBITMQ_NODENAME": "rabbit@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(ports[AMQP]),
        "RABBITMQ_DIST_PORT": str(ports[DISTRIBUTION]),
        "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
        "RABBITMQ_SCHEMA_DIR": str(data / "schema"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(data / "config"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONFIG_FILE": str(configuration),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(paths[ADVANCED]),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(paths[PLUGINS]),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(erlang),
    }


def _listeners(ports: Mapping[int, int]) -> str:
    return (
        f"\nlisteners.tcp.1 = {LOOPBACK}:{ports[AMQP]}\n"
        f"management.tcp.ip = {LOOPBACK}\nmanagement.tcp.port = {ports[MANAGEMENT]}\n"
        f"prometheus.tcp.ip = {LOOPBACK}\nprometheus.tcp.port = {ports[METRICS]}\n"
    )
