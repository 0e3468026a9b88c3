"""The conformance samples on a real RabbitMQ, and one job published from Python, from Node and with curl."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pika
import pytest
from processes import ROOT, Queue, Worker, unset, until
from sqlalchemy import create_engine, text
from tools import PROGRAMS, install_amqplib

SITE = Path(__file__).parent / "outbox_site"
SAMPLES = [json.loads(path.read_text()) for path in sorted((ROOT / "tests/contract/samples").glob("*.json"))]
NODE = """
const amqp = require("amqplib");
(async () => {
  const connection = await amqp.connect(process.env.URL);
  const channel = await connection.createConfirmChannel();
  const body = {
    queue_name: "shipping", actor_name: "ship", args: [], kwargs: {note: "für Zoë", weight: 2.0, order_id: 7},
    options: {}, message_id: crypto.randomUUID(), message_timestamp: Date.now(),
  };
  channel.publish("dutiful.jobs", "shipping", Buffer.from(JSON.stringify(body)), {persistent: true, mandatory: true});
  await channel.waitForConfirms();
  await connection.close();
})();
"""


@pytest.fixture
def store(tmp_path):
    url = f"sqlite:///{tmp_path}/store.db"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE shop_parcels (id INTEGER PRIMARY KEY, order_id INTEGER)"))
    yield engine
    engine.dispose()


@pytest.fixture
def environment(rabbitmq, store):
    return unset() | {
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_STORE__URL": str(store.url),
        "PYTHONPATH": f"{SITE}{os.pathsep}{ROOT}",
    }


@pytest.fixture
def worker(environment, tmp_path):
    worker = Worker(SITE, environment, tmp_path, "-p", "1", "-t", "2", module="parcels")
    worker.wait_until_ready()
    yield worker
    worker.kill()


@pytest.fixture
def keys(store):
    """The keys on record: [(actor, key, state)]."""

    def read():
        with store.connect() as connection:
            return sorted(tuple(row) for row in connection.execute(text("SELECT actor, key, state FROM dutiful_keys")))

    return read


def parcels(store, order):
    with store.connect() as connection:
        return connection.execute(
            text("SELECT count(*) FROM shop_parcels WHERE order_id = :order"), {"order": order}
        ).scalar_one()


def test_every_sample_ends_as_it_says(rabbitmq, worker, keys):
    shipping = Queue(rabbitmq, "shipping")
    dead = {}
    for number, sample in enumerate(SAMPLES, start=1):
        with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            properties = pika.BasicProperties(headers=sample["headers"], **sample["properties"])
            channel.basic_publish("dutiful.jobs", sample["routing_key"], sample["body"], properties, mandatory=True)
        expected = sample["expected"]
        if expected["outcome"] == "dead":
            (letter,) = until(shipping.dead, what=f"sample {number} is no dead letter")
            dead[number] = letter[0].headers["dutiful-reason"]
            assert dead[number] == expected["reason"], sample["says"]
            continue
        message_id = json.loads(sample["body"])["message_id"]
        ended = f"job_{expected['outcome']}"
        until(partial(has_ended, worker, ended, message_id), what=f"sample {number} did not end as it says")
    ran = [sample["expected"]["key"] for sample in SAMPLES if sample["expected"]["outcome"] == "succeeded"]
    assert sorted(key for _, key, _ in keys()) == sorted(ran)
    assert {state for *_, state in keys()} == {"done"}


def has_ended(worker, event, message_id):
    return message_id in {each["message_id"] for each in worker.events(event)}


def publish_from_python(environment, **_):
    sent = "import parcels; parcels.ship.send(order_id=7, weight=2.0, note='für Zoë')"
    subprocess.run([sys.executable, "-c", sent], env=environment, check=True, timeout=60)


def publish_with_curl(rabbitmq, management, **_):
    """Raw JSON through RabbitMQ's management page."""
    body = json.loads(SAMPLES[0]["body"]) | {"message_id": "from curl"}
    request = {
        "routing_key": "shipping",
        "properties": {"delivery_mode": 2},
        "payload": json.dumps(body),
        "payload_encoding": "string",
    }
    where = f"{str(management.base_url).rstrip('/')}/api/exchanges/{rabbitmq.rpartition('/')[2]}/dutiful.jobs/publish"
    credentials = pika.URLParameters(rabbitmq).credentials
    user = f"{credentials.username}:{credentials.password}"
    command = ["curl", "-sS", "--fail", "-u", user, "-X", "POST", where, "-d", json.dumps(request)]
    answer = subprocess.run(command, capture_output=True, check=True, timeout=30)
    assert json.loads(answer.stdout) == {"routed": True}


def publish_from_node(rabbitmq, tmp_path, **_):
    install_amqplib(tmp_path)
    command = [PROGRAMS / "node", "-e", NODE]
    subprocess.run(command, cwd=tmp_path, env=os.environ | {"URL": rabbitmq}, check=True, timeout=60)


@pytest.fixture
def given(environment, rabbitmq, management, tmp_path):
    """What a way to publish may need."""
    return {"environment": environment, "rabbitmq": rabbitmq, "management": management, "tmp_path": tmp_path}


WAYS = {"curl": publish_with_curl, "node": publish_from_node}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["curl", "node"])
def test_the_same_job_has_one_key_whoever_publishes_it(way, worker, keys, store, given):
    publish_from_python(**given)
    until(lambda: worker.events("job_succeeded"))
    WAYS[way](**given)

    until(lambda: worker.events("job_duplicate"))
    assert keys() == [("ship", "7", "done")]
    assert parcels(store, 7) == 1
