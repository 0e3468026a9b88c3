"""Addresses of the compose file become addresses of this host."""

from pathlib import Path

import pytest

from deploy.local.addresses import Addresses

PORTS = {"rabbitmq": {5672: 20001, 15672: 20002}, "postgres": {5432: 20003}, "worker": {9191: 20004}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("amqp://u:p@rabbitmq:5672/dutiful", "amqp://u:p@127.0.0.1:20001/dutiful"),
        ("amqp://rabbitmq:5672;amqp://rabbitmq:5672", "amqp://127.0.0.1:20001;amqp://127.0.0.1:20001"),
        ('targets: ["worker:9191", "rabbitmq:15672"]', 'targets: ["127.0.0.1:20004", "127.0.0.1:20002"]'),
        ("rabbitmq:5673", "rabbitmq:5673"),
        ("my-rabbitmq:5672", "my-rabbitmq:5672"),
        ("eu.rabbitmq:5672", "eu.rabbitmq:5672"),
        ("http://127.0.0.1:9191/health", "http://127.0.0.1:20004/health"),
        ("exec 3<>/dev/tcp/127.0.0.1/9191", "exec 3<>/dev/tcp/127.0.0.1/20004"),
        ("--listen=0.0.0.0:9191", "--listen=127.0.0.1:20004"),
        ("localhost:5672", "localhost:5672"),
        ("0.0.0.0", "127.0.0.1"),
        ("10.0.0.0", "10.0.0.0"),
        ("no address", "no address"),
    ],
)
def test_a_text_is_rewritten_as_the_worker_sees_it(text, expected):
    assert Addresses("worker", PORTS).text(text) == expected


def test_a_variable_that_is_the_services_own_port_is_rewritten_and_other_numbers_stay():
    variables = {"METRICS_PORT": "9191", "DATABASE_PORT": "5432", "LIMIT": "9191"}
    assert Addresses("worker", PORTS).environment(variables) == {
        "METRICS_PORT": "20004",
        "DATABASE_PORT": "5432",
        "LIMIT": "9191",
    }


def test_paths_inside_volumes_become_paths_on_this_host():
    addresses = Addresses("worker", PORTS, {"/srv/public": Path("/run/x/public"), "/data": Path("/run/x/data")})
    assert addresses.text("--out=/srv/public/sitemap.xml") == "--out=/run/x/public/sitemap.xml"
    assert addresses.text("/srv/public-old /other/data") == "/srv/public-old /other/data"
