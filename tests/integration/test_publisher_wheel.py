"""The publisher's wheel in a bare environment, beside a service's own packages called workers and actors."""

import json
import os
import subprocess
import sys
import venv

import pika
import pytest
from processes import ROOT, Queue

from workers.transport import topology

SERVICE = """
import asyncio, os, sys, threading
from datetime import timedelta
from pathlib import Path

import actors, workers
from dutiful_publisher import AsyncPublisher, ContractError, KnownContracts, Publisher, QueueMissing
from dutiful_publisher import __file__ as ours

assert workers.THEIRS and actors.THEIRS and Path(ours).is_relative_to(sys.prefix)
url = os.environ["URL"]
contracts = KnownContracts.from_folder(os.environ["CONTRACTS"])


def feed(n):
    return {"source": f"{n}.ndjson"}


def in_a_child(act):
    child = os.fork()
    if child == 0:
        act()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


async def on_a_loop():
    async with AsyncPublisher(url, app="shop", contracts=contracts) as publisher:
        await asyncio.gather(*(publisher.publish("content.import_feed", feed(n)) for n in range(200)))
        await publisher.publish("content.import_feed", feed("later"), delay=timedelta(milliseconds=100))
        try:
            await publisher.publish("ship", {}, queue="nowhere")
        except ContractError:
            pass
        try:
            Publisher(url, app="shop").publish("ship", {}, queue="content")
        except Exception as error:
            assert "AsyncPublisher" in str(error)


with Publisher(url, app="shop", contracts=contracts) as publisher:
    publisher.publish("content.import_feed", feed("first"), key="first")
    in_a_child(lambda: publisher.publish("content.import_feed", feed("child")))
    publisher.publish("content.import_feed", feed("parent"))
    in_a_child(publisher.close)  # one that never published ends like any other
    threads = [
        threading.Thread(target=publisher.publish, args=("content.import_feed", feed(n))) for n in range(100)
    ]
    [each.start() for each in threads]
    [each.join() for each in threads]
    assert publisher.publish_many("content.import_feed", map(feed, range(3000))) == 3000
    try:
        publisher.publish("content.import_feed", {"sauce": "x"})
    except ContractError as error:
        assert "source: is missing" in str(error)
for options in {}, {"delay": timedelta(minutes=1)}:
    with Publisher(url, app="shop") as publisher:
        try:
            publisher.publish("ship", {}, queue="nowhere", **options)
        except QueueMissing as error:
            assert error.message.queue_name == "nowhere" and error.safe_to_retry
        else:
            raise AssertionError("a queue that isn't there took a job")
asyncio.run(on_a_loop())
print("published", threading.active_count())
"""
COUNT = 3 + 100 + 3000 + 200 + 1


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A bare environment with the wheel and what it asks for: its Python."""
    folder = tmp_path_factory.mktemp("bare")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT / "deploy/publisher", check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("dutiful_publisher-*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    install = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", str(python), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    return python


@pytest.fixture
def content(rabbitmq):
    """The vhost with the queue of the contract, and nobody who reads it."""
    with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
        channel = connection.channel()
        topology.declare_vhost(channel)
        topology.declare_queue(channel, "content")
    return Queue(rabbitmq, "content")


@pytest.fixture
def may_publish_only(management, rabbitmq):
    """The address of a user that may publish, and nothing else."""
    name = rabbitmq.rpartition("/")[2] + "_publisher"
    management.put(f"/api/users/{name}", json={"password": "p", "tags": ""}).raise_for_status()
    rights = {"configure": "^$", "write": r"^dutiful\.(jobs|delay\.\d\d)$", "read": "^$"}
    management.put(f"/api/permissions/{rabbitmq.rpartition('/')[2]}/{name}", json=rights).raise_for_status()
    yield f"amqp://{name}:p@{rabbitmq.rpartition('@')[2]}"
    management.delete(f"/api/users/{name}").raise_for_status()


def foreign(folder):
    """A service with packages of its own, named as ours are."""
    for name in ("workers", "actors"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("THEIRS = True\n")
    (folder / "service.py").write_text(SERVICE)


def test_the_wheel_needs_pika_and_pydantic_alone(bare):
    listing = [sys.executable, "-m", "uv", "pip", "list", "--python", str(bare), "--format", "json"]
    found = subprocess.run(listing, check=True, capture_output=True, timeout=60)

    names = {each["name"] for each in json.loads(found.stdout)}
    of_pydantic = {"annotated-types", "pydantic-core", "typing-extensions", "typing-inspection"}
    assert names - of_pydantic == {"dutiful-publisher", "pika", "pydantic"}


def test_a_service_publishes_from_threads_forks_and_a_loop_beside_packages_of_the_same_name(
    bare, content, may_publish_only, tmp_path
):
    foreign(tmp_path)
    environment = {"URL": may_publish_only, "CONTRACTS": str(ROOT / "docs/contracts"), "PATH": os.environ["PATH"]}

    done = subprocess.run(
        [bare, "service.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout) == (0, "published 1\n"), done.stderr
    assert content.count() in {COUNT, COUNT - 1}  # one comes a tenth of a second later
    with pika.BlockingConnection(pika.URLParameters(content.url)) as connection:
        _, properties, body = connection.channel().basic_get("content", auto_ack=True)
    assert (properties.app_id, properties.delivery_mode) == ("shop", 2)
    assert properties.headers["dutiful-key"] == "first"
    assert json.loads(body)["kwargs"] == {"source": "first.ndjson"}


def test_the_front_door_of_the_wheel_has_what_it_promises(bare):
    look = "import dutiful_publisher as d; print(sorted(n for n in d.__all__ if getattr(d, n).__doc__))"
    found = subprocess.run([bare, "-c", look], check=True, capture_output=True, text=True, timeout=30)
    promised = (ROOT / "deploy/publisher/front_door.py").read_text().partition("__all__ = ")[2]

    assert found.stdout.strip() == str(sorted(json.loads(promised.replace(",\n]", "]"))))
