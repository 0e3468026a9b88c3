"""Each user of RabbitMQ can do its job and nothing else: a real RabbitMQ, a real worker, `dutiful` as typed."""

import json
from urllib.parse import urlsplit

import httpx
import pika
import pytest
from processes import ROOT, SHOP, Queue, envelope, until

from tests import commands
from tests.commands import unset
from workers.doctor.rights import permissions
from workers.management import Management, ManagementUnavailable
from workers.rabbitmq import DutifulBroker
from workers.users import ROLES, definitions, user

REFUSED = "ACCESS_REFUSED"


@pytest.fixture
def vhost(rabbitmq):
    return rabbitmq.rpartition("/")[2]


@pytest.fixture
def users(rabbitmq, vhost, management, broker_addresses):
    """The AMQP URL of each role, after `dutiful users declare`; twice, as each start of a stack does it."""
    there = urlsplit(rabbitmq)
    pages = urlsplit(broker_addresses[1])
    passwords = {f"DUTIFUL_USERS__{role.upper()}_PASSWORD": f"{role}-secret" for role in ROLES}
    told = {
        "PYTHONPATH": f"{ROOT}:{SHOP}",
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_RABBITMQ__MANAGEMENT_URL": f"http://{there.username}:{there.password}@{pages.netloc}",
    }
    for _ in range(2):
        done = commands.dutiful("users", "declare", "shop", environment=unset() | passwords | told)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [f"{user(vhost, role)}: declared" for role in ROLES]
    yield {role: f"amqp://{user(vhost, role)}:{role}-secret@{there.hostname}:{there.port}/{vhost}" for role in ROLES}
    for role in ROLES:
        management.delete(f"/api/users/{user(vhost, role)}").raise_for_status()


@pytest.fixture
def environment(users, tmp_path, ledger):
    """The shop's processes are the user worker."""
    return {
        "DUTIFUL_RABBITMQ__URL": users["worker"],
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
        "SHOP_LEDGER": str(ledger),
    }


@pytest.fixture
def dutiful(environment, users, management, tmp_path):
    """Run `dutiful` as the user operator, or as another."""

    def run(*words, role="operator", status=0):
        told = {
            "PYTHONPATH": f"{ROOT}:{SHOP}",
            "DUTIFUL_RABBITMQ__URL": users[role],
            "DUTIFUL_RABBITMQ__MANAGEMENT_URL": str(management.base_url),
        }
        done = commands.dutiful(*words, environment=unset() | environment | told, folder=tmp_path)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout or done.stderr

    return run


def refusals(url, attempts):
    """Which of these RabbitMQ refuses, each on a channel of its own."""
    refused = set()
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        for name, act in attempts.items():
            channel = connection.channel()
            channel.confirm_delivery()
            try:
                act(channel)
            except pika.exceptions.ChannelClosedByBroker as error:
                refused |= {name} if REFUSED in str(error) else set()
    return refused


def send(exchange, key):
    return lambda channel: channel.basic_publish(exchange, key, b"{}", pika.BasicProperties(delivery_mode=2))


NEVER = {
    "declare a queue": lambda channel: channel.queue_declare("another", durable=True),
    "declare an exchange": lambda channel: channel.exchange_declare("another", "direct"),
    "write to an exchange of RabbitMQ's": send("amq.topic", "x"),
    "bind itself to it": lambda channel: channel.queue_bind("shop", "amq.topic", "#"),
}
READS = {
    "take a job": lambda channel: channel.basic_get("shop"),
    "consume jobs": lambda channel: channel.basic_consume("shop", print),
    "purge jobs": lambda channel: channel.queue_purge("shop"),
}
OWNS = {
    "write to a dead queue": send("", "shop.XQ"),
    "delete the queue": lambda channel: channel.queue_delete("shop"),
    "declare the queue again": lambda channel: channel.queue_declare("shop", durable=True),
    "bind what it likes to the jobs": lambda channel: channel.queue_bind("shop", "dutiful.jobs", "stolen"),
    "put a job past the delays": send("dutiful.deliver", "shop"),
}
LETTERS = {
    "take a dead letter": lambda channel: channel.basic_get("shop.XQ"),
    "purge dead letters": lambda channel: channel.queue_purge("shop.XQ"),
}
NOWHERE = ".".join(f"{1:029b}") + ".nowhere"
OPEN = {
    "count jobs": lambda channel: channel.queue_declare("shop", passive=True),
    "send to nobody": send("dutiful.delay.00", NOWHERE),
}


def test_the_worker_works_the_operator_replays_and_each_can_do_no_more(
    users, start_worker, dutiful, shop, ledger, *, management, vhost
):
    worker = start_worker("-p", "1", "-t", "2")
    worker.wait_until_ready()

    # The publisher sends, now and later; the worker runs, retries through the ladder, and buries.
    with pika.BlockingConnection(pika.URLParameters(users["publisher"])) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        told = pika.BasicProperties(delivery_mode=2)
        channel.basic_publish("dutiful.jobs", "shop", envelope("good", n=1), told, mandatory=True)
        key = ".".join(f"{3:029b}") + ".shop"
        channel.basic_publish("dutiful.delay.01", key, envelope("good", n=2), told, mandatory=True)
        channel.basic_publish("dutiful.jobs", "shop", envelope("failing"), told, mandatory=True)
    until(lambda: {"good 1", "good 2", "failing 2"} <= set(ledger.read_text().splitlines()), what=worker.text())
    until(lambda: shop.count("shop.XQ") == 1)
    assert permissions_of(users["worker"]) == ["ok"]
    assert REFUSED not in worker.text()

    # The operator looks, pauses, and replays; the worker parks and brings back what was paused.
    assert "nothing wrong was found" in dutiful("queues", "verify", "shop")
    (letter,) = json.loads(dutiful("dead-letters", "list", "--package", "shop", "--json"))
    dutiful("actors", "pause", "gentle", "shop", "--reason", "a test")
    until(lambda: "paused" in worker.text())
    shop.publish(envelope("gentle", n=1))
    until(lambda: Queue(shop.url, "dutiful.parked.gentle").exists() and shop.count("dutiful.parked.gentle") == 1)
    dutiful("actors", "resume", "gentle")
    until(lambda: "gentle 1 1" in ledger.read_text(), what=worker.text())
    dutiful("dead-letters", "replay", "--id", letter["id"], "--reason", "a test", "--package", "shop")
    until(lambda: ledger.read_text().count("failing 1") == 2)
    assert REFUSED not in worker.text()

    # Nobody can do more, and docs/security.md says what a publisher can do beside its job.
    assert refusals(users["publisher"], OPEN) == set()
    until(lambda: shop.count("dutiful.undeliverable") == 1)
    assert refusals(users["publisher"], NEVER | READS | OWNS | LETTERS) == {*NEVER, *READS, *OWNS, *LETTERS}
    assert refusals(users["worker"], NEVER | LETTERS) == {*NEVER, *LETTERS}
    said = dutiful("dead-letters", "list", "--package", "shop", role="worker", status=1)
    assert "expected DUTIFUL_RABBITMQ__URL with the operator's user" in said
    assert refusals(users["operator"], NEVER) == NEVER.keys()
    assert refusals(users["metrics"], NEVER | READS | OWNS | LETTERS) == {*NEVER, *READS, *OWNS, *LETTERS}
    assert {role: looks(management, users[role], vhost) for role in ROLES} == {
        "publisher": (401, 401, 401),
        "worker": (401, 401, 401),
        "operator": (200, 200, 401),
        "metrics": (200, 200, 401),
    }
    for role in ("operator", "metrics"):
        page = Management(str(management.base_url), vhost=vhost, user=user(vhost, role), password=f"{role}-secret")
        with pytest.raises(ManagementUnavailable, match=r"tag administrator.*401"):
            page.make(definitions(["shop"], vhost=vhost))
    for url in users.values():
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            pika.BlockingConnection(pika.URLParameters(url.rpartition("/")[0] + "/%2F"))
    assert shop.exists()


def permissions_of(url):
    broker = DutifulBroker(url=url, middleware=[])
    try:
        return [line.verdict for line in permissions(broker, ["shop"])]
    finally:
        broker.close()


def looks(management, url, vhost):
    """What the management API answers: the overview, the vhost's queues, and a policy of one's own."""
    who = urlsplit(url)
    with httpx.Client(base_url=management.base_url, auth=(who.username, who.password), timeout=30) as client:
        rule = {"pattern": ".*", "definition": {"max-length": 1}}
        return (
            client.get("/api/overview").status_code,
            client.get(f"/api/queues/{vhost}").status_code,
            client.put(f"/api/policies/{vhost}/mine", json=rule).status_code,
        )
