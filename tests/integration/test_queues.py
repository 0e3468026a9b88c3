"""`dutiful queues list` and `verify` on a real RabbitMQ, as an operator types them."""

import json

import pika
import pytest
from processes import ROOT, SHOP, envelope, until

from tests import commands


@pytest.fixture
def channel(rabbitmq):
    with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
        yield connection.channel()


@pytest.fixture
def management_url(management):
    return str(management.base_url)


@pytest.fixture
def known(management, rabbitmq):
    """What RabbitMQ's management API knows of a queue; it learns anew every five seconds."""
    return lambda name: management.get(f"/api/queues/{rabbitmq.rpartition('/')[2]}/{name}").raise_for_status().json()


@pytest.fixture
def dutiful(rabbitmq, tmp_path):
    """Run `dutiful queues VERB`: the exit status, and what it wrote."""

    def run(verb, *arguments, **environment):
        told = {
            "PATH": "/usr/bin:/bin",
            "COLUMNS": "200",
            "PYTHONPATH": f"{ROOT}:{SHOP}",
            "DUTIFUL_RABBITMQ__URL": rabbitmq,
            "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
        }
        done = commands.dutiful("queues", verb, "shop", *arguments, environment=told | environment, folder=tmp_path)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_fresh_vhost_is_listed_as_missing_and_nothing_is_made_by_looking(dutiful, channel):
    status, said = dutiful("list")

    assert status == 0
    assert "dutiful queues declare" in said
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
        channel.queue_declare("shop", passive=True)


@pytest.mark.usefixtures("queues")
def test_the_list_tells_ready_dead_delayed_and_what_it_can_t_know(dutiful, shop, channel):
    for n in range(3):
        shop.publish(envelope("good", n=n))
    channel.basic_publish("", "shop.XQ", b"dead")
    channel.basic_publish("", "dutiful.delay.20", b"later")
    channel.basic_publish("", "dutiful.delay.21", b"later still")
    until(lambda: shop.count("dutiful.delay.21") == shop.count("shop.XQ") == 1)

    found = json.loads(dutiful("list", "--json")[1])
    _, told = dutiful("list")

    assert found["queues"] == [
        {
            "queue": "shop",
            "ready": 3,
            "unacked": None,
            "dead": 1,
            "consumers": 0,
            "oldest_seconds": None,
            "missing": False,
        }
    ]
    assert (found["delayed"], found["undeliverable"]) == (2, 0)
    assert told.count("unknown") == 3
    assert "DUTIFUL_RABBITMQ__MANAGEMENT_URL" in told
    assert "delayed: 2" in told
    assert "delayed is one number for all queues" in told
    assert "undeliverable" not in told


@pytest.mark.usefixtures("queues")
def test_the_management_api_adds_what_is_not_settled(dutiful, shop, channel, management_url, known):
    for n in range(3):
        shop.publish(envelope("good", n=n))
    channel.basic_qos(prefetch_count=2)
    channel.basic_consume("shop", lambda *_: None)

    def unacked():
        channel.connection.process_data_events(0.1)
        return known("shop").get("messages_unacknowledged")

    until(lambda: unacked() == 2)
    _, told = dutiful("list", "--json", DUTIFUL_RABBITMQ__MANAGEMENT_URL=management_url)

    found = json.loads(told)["queues"][0]
    assert (found["unacked"], found["ready"], found["consumers"]) == (2, 1, 1)


@pytest.mark.usefixtures("queues")
def test_a_management_api_that_does_not_answer_costs_only_its_own_numbers(dutiful):
    status, said = dutiful("list", DUTIFUL_RABBITMQ__MANAGEMENT_URL="http://127.0.0.1:9")

    assert status == 0
    assert "management API can't be read" in said


@pytest.mark.usefixtures("queues")
def test_jobs_that_lost_their_queue_are_told_with_what_to_do(dutiful, channel):
    channel.confirm_delivery()
    channel.basic_publish("dutiful.undeliverable", "", b"{}", mandatory=True)

    found = until(lambda: (said := dutiful("list")[1]).count("undeliverable: 1") and said)

    assert "Declare the queue again" in found


@pytest.mark.usefixtures("queues")
def test_what_was_declared_is_found_right(dutiful, management_url):
    status, said = dutiful("verify", DUTIFUL_RABBITMQ__MANAGEMENT_URL=management_url)

    assert (status, said) == (0, "shop: nothing wrong was found\n")


@pytest.mark.usefixtures("queues")
def test_without_the_management_api_verify_says_what_it_did_not_check(dutiful):
    status, said = dutiful("verify")

    assert status == 0
    assert "unknown: bindings and policies" in said


@pytest.mark.usefixtures("queues")
def test_a_missing_queue_is_wrong_and_verify_does_not_make_it(dutiful, channel):
    channel.queue_delete("shop.XQ")

    status, said = dutiful("verify")

    assert status == 1
    assert "missing: queue shop.XQ\n  mend: dutiful queues declare" in said
    assert dutiful("verify")[0] == 1
    dutiful("declare")
    assert dutiful("verify")[0] == 0


@pytest.mark.usefixtures("queues")
def test_a_queue_with_other_arguments_is_wrong_and_verify_names_the_argument(dutiful, channel):
    channel.queue_delete("shop")
    channel.queue_delete("dutiful.delay.03")
    channel.queue_declare("shop", durable=True)
    channel.queue_declare(
        "dutiful.delay.03",
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-message-ttl": 900,
            "x-dead-letter-exchange": "dutiful.delay.02",
        },
    )

    status, said = dutiful("verify", "--json")
    wrong = {each["what"]: each for each in json.loads(said) if each["severity"] == "wrong"}

    assert status == 1
    assert wrong.keys() == {"queue shop", "queue dutiful.delay.03"}
    assert wrong["queue dutiful.delay.03"]["expected"] == "x-message-ttl = 800"
    assert wrong["queue dutiful.delay.03"]["received"] == "x-message-ttl = 900"
    assert wrong["queue shop"]["received"].endswith(" = none")
    assert "rabbitmqctl delete_queue -p test_" in wrong["queue shop"]["mend"]


def test_the_management_api_names_every_argument_that_differs(dutiful, channel, management_url):
    channel.queue_declare("shop", durable=True, arguments={"x-max-priority": 5})
    channel.queue_declare("shop.XQ", durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 20})

    status, said = dutiful("verify", DUTIFUL_RABBITMQ__MANAGEMENT_URL=management_url)

    assert status == 1
    assert "queue shop.XQ: expected x-delivery-limit = 1000000000; received x-delivery-limit = 20" in said
    assert "x-queue-type = quorum; received x-dead-letter-exchange = none" in said
    assert "and 54 more\n  mend: dutiful queues declare" in said


@pytest.mark.usefixtures("queues")
def test_a_missing_binding_is_wrong(dutiful, channel, management_url):
    channel.queue_unbind("shop", "dutiful.jobs", "shop")

    status, said = dutiful("verify", DUTIFUL_RABBITMQ__MANAGEMENT_URL=management_url)

    assert status == 1
    assert "queue shop: expected bound to dutiful.jobs by shop" in said


@pytest.mark.usefixtures("queues")
def test_a_policy_that_breaks_a_promise_is_a_warning(dutiful, management, management_url, rabbitmq, known):
    vhost = rabbitmq.rpartition("/")[2]
    for name, rules in {"^shop$": {"max-length": 9, "delivery-limit": 5}, "XQ$": {"message-ttl": 60000}}.items():
        management.put(
            f"/api/policies/{vhost}/{len(rules)}", json={"pattern": name, "definition": rules, "apply-to": "queues"}
        ).raise_for_status()

    until(lambda: all(known(name).get("effective_policy_definition") for name in ("shop", "shop.XQ")))
    _, told = dutiful("verify", "--json", DUTIFUL_RABBITMQ__MANAGEMENT_URL=management_url)

    found = [each for each in json.loads(told) if each["severity"] == "warning"]
    assert {(each["what"], each["received"].split(",")[0]) for each in found} == {
        ("queue shop", "max-length = 9"),
        ("queue shop", "delivery-limit = 5"),
        ("queue shop.XQ", "message-ttl = 60000"),
    }


def test_a_broker_that_is_away_is_one_line_and_status_1(dutiful):
    status, said = dutiful("list", DUTIFUL_RABBITMQ__URL="amqp://guest:guest@127.0.0.1:9/x")

    assert status == 1
    assert said.startswith("dutiful: RabbitMQ can't be reached; expected a broker at DUTIFUL_RABBITMQ__URL")
    assert said.count("\n") == 1
