"""`dutiful` on real servers: queues on RabbitMQ, the store on PostgreSQL."""

import json
import re
from pathlib import Path

import pika
import pytest
from processes import Queue, envelope

from tests import commands
from tests.commands import unset

SITE = Path(__file__).parent / "worker_site"


@pytest.fixture
def dutiful(tmp_path):
    defaults = {"DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db", "PYTHONPATH": str(SITE)}

    def run(*arguments, **more):
        return commands.dutiful(*arguments, environment=unset() | defaults | more)

    return run


def test_queues_are_declared_once_and_again_and_then_counted(dutiful, rabbitmq):
    for _ in range(2):
        answer = dutiful("queues", "declare", "shop", DUTIFUL_RABBITMQ__URL=rabbitmq)
        assert (answer.returncode, answer.stdout) == (0, "shop: declared\n"), answer.stderr
    shop = Queue(rabbitmq, "shop")
    for number in range(3):
        shop.publish(envelope("good", n=number))

    listed = dutiful("queues", "list", "shop", "--json", DUTIFUL_RABBITMQ__URL=rabbitmq)

    (held,) = json.loads(listed.stdout)["queues"]
    assert (held["queue"], held["ready"], held["dead"]) == ("shop", 3, 0)
    assert "shop" in dutiful("queues", "list", "shop", DUTIFUL_RABBITMQ__URL=rabbitmq).stdout


def test_a_vhost_with_other_queues_is_refused_in_one_line(dutiful, rabbitmq):
    with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
        connection.channel().queue_declare("shop", durable=True)

    answer = dutiful("queues", "declare", "shop", DUTIFUL_RABBITMQ__URL=rabbitmq)

    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert "other arguments" in answer.stderr


@pytest.mark.parametrize("wrong", ["password", "vhost"])
def test_a_user_or_vhost_that_rabbitmq_refuses_is_one_line_without_the_password(dutiful, rabbitmq, wrong):
    url = {
        "password": re.sub("dutiful:.*@", "dutiful:mistaken@", rabbitmq),
        "vhost": rabbitmq.rpartition("/")[0] + "/nowhere",
    }[wrong]

    answer = dutiful("queues", "declare", "shop", DUTIFUL_RABBITMQ__URL=url)

    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert "RabbitMQ refuses this user or vhost" in answer.stderr
    assert "mistaken" not in answer.stderr


def test_a_store_on_postgresql_is_behind_then_migrated_then_up_to_date(dutiful, postgres):
    behind = dutiful("store", "status", DUTIFUL_STORE__URL=postgres)
    migrated = dutiful("store", "migrate", DUTIFUL_STORE__URL=postgres)
    again = dutiful("store", "migrate", DUTIFUL_STORE__URL=postgres)
    status = dutiful("store", "status", "--json", DUTIFUL_STORE__URL=postgres)

    assert behind.returncode == 1
    assert migrated.returncode == again.returncode == status.returncode == 0, migrated.stderr
    rows = json.loads(status.stdout)["schema"]
    assert [each["tables"] for each in rows] == ["dutiful", "actors"]
    assert all(each["at"] == each["newest"] is not None for each in rows)
