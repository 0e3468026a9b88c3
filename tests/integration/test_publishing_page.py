"""docs/publishing.md's examples run as they are written, each against a real RabbitMQ."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pika
import pytest
from gateway import Gateway, add_token
from processes import ROOT, unset, until
from publisher_wheel import declared, environment_with_the_wheel
from tools import install_amqplib

from deploy.local import ports
from workers.publisher import KnownContracts

PAGE = (ROOT / "docs/publishing.md").read_text()
FILES = dict(re.findall(r"^```\w+ title=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
PROGRAMS = Path(sys.executable).parent
PACKAGES = ("fastapi", "httpx", "flask", "gunicorn", "pytest")
ON_A_LOOP = """
from fastapi.testclient import TestClient
from feeds_api import app

with TestClient(app) as client:
    answers = [client.post("/feeds/nightly", params={"source": "posts.ndjson"}) for _ in range(3)]
    print([each.status_code for each in answers])
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Where the programs of another service's environment are."""
    return environment_with_the_wheel(tmp_path_factory.mktemp("service"), *PACKAGES)


@pytest.fixture
def service(tmp_path):
    """A folder with every file of the page, and the contracts."""
    folder = tmp_path / "service"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_text(content)
    shutil.copytree(ROOT / "docs/contracts", folder / "contracts")
    return folder


@pytest.fixture
def content(rabbitmq):
    return declared(rabbitmq, "content")


@pytest.fixture
def run(service, rabbitmq):
    """Run a program of the service: its output."""

    def start(*command, **more):
        environment = unset() | {"JOBS_URL": rabbitmq} | more
        words = [str(each) for each in command]
        done = subprocess.run(
            words, cwd=service, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return start


def taken(queue):
    """What waits, which is taken: [(arguments, key, message id)]."""
    found = []
    with pika.BlockingConnection(pika.URLParameters(queue.url)) as connection:
        channel = connection.channel()
        while (message := channel.basic_get(queue.name, auto_ack=True))[0] is not None:
            body = json.loads(message[2])
            assert message[1].delivery_mode == 2
            found.append((body["kwargs"], message[1].headers.get("dutiful-key"), body["message_id"]))
    return found


NIGHTLY = {"source": "posts.ndjson", "feed": "nightly"}


def test_no_example_is_left_out():
    run_here = {"feeds_api.py", "shop.py", "nightly.py", "orders.py", "test_shop.py", "publish.mjs", "order.sh"}

    assert FILES.keys() == run_here
    assert len(re.findall(r"^```\w", PAGE, re.MULTILINE)) == len(run_here)


def test_a_loop_a_script_and_a_service_s_own_test(programs, run, content):
    python = programs / "python"

    assert run(python, "-c", ON_A_LOOP) == "[202, 202, 202]\n"
    assert [each[:2] for each in taken(content)] == [(NIGHTLY, "feed nightly")] * 3

    for _ in range(2):
        assert run(python, "nightly.py", "a.ndjson", "b.ndjson") == "2 confirmed\n"
    until(lambda: content.count() == 4)
    assert len({message_id for *_, message_id in taken(content)}) == 2

    assert "1 passed" in run(python, "-m", "pytest", "-q", "test_shop.py", JOBS_URL="amqp://127.0.0.1:1/none")


def test_a_server_that_forks(programs, service, rabbitmq, content):
    (port,) = ports.choose(1)
    command = [programs / "gunicorn", "--preload", "-w", "2", "-b", f"127.0.0.1:{port}", "shop:app"]
    # One job is sent before the fork, so that there is a connection which the children must not use.
    (service / "wsgi.py").write_text(
        "from shop import app, jobs\njobs.publish('content.import_feed', {'source': 'x'})\n"
    )
    command[-1] = "wsgi:app"
    with (service / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=service, env=unset() | {"JOBS_URL": rabbitmq}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        order = Request(f"http://127.0.0.1:{port}/feeds/nightly?source=posts.ndjson", method="POST")
        until(lambda: answers(order), what=(service / "log").read_text())
        assert all(answers(order) for _ in range(7))
        assert content.count() == 9
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=20)


def answers(order):
    try:
        with urlopen(order, timeout=20) as answer:
            return answer.status == 202
    except URLError:
        return False


def test_a_transaction(programs, run, service, content):
    database = service / "shop.db"
    outbox = {"DUTIFUL_RABBITMQ__URL": content.url, "PYTHONPATH": str(ROOT)}
    url = f"sqlite:///{database}"
    run(PROGRAMS / "dutiful", "outbox", "init", "--url", url, **outbox)
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE orders (source TEXT)")

    run(programs / "python", "orders.py", SHOP_DATABASE=str(database), JOBS_URL="amqp://127.0.0.1:1/none")
    assert content.count() == 0
    told = run(PROGRAMS / "dutiful", "outbox", "relay", "--url", url, "--once", **outbox)

    assert "relayed 1, set aside 0, not taken 0" in told
    assert [each[:2] for each in taken(content)] == [({"source": "ordered.ndjson"}, "order ordered.ndjson")]


@pytest.mark.timeout(600)
def test_node(run, content, service):
    assert "`npm install amqplib@0.10`" in PAGE
    install_amqplib(service)

    job = run(PROGRAMS / "node", "publish.mjs").strip()

    assert taken(content) == [(NIGHTLY, "feed nightly", job)]
    missing = subprocess.run(
        [PROGRAMS / "node", "publish.mjs"],
        cwd=service,
        env=os.environ | {"JOBS_URL": content.url, "QUEUE": "nowhere"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert missing.returncode == 1
    assert "nobody has declared the queue nowhere" in missing.stderr


def test_http(run, content, tmp_path):
    store = f"sqlite:///{tmp_path}/store.db"
    settings = {"DUTIFUL_RABBITMQ__URL": content.url, "DUTIFUL_STORE__URL": store}
    token = add_token(store, "shop", "content.import_feed")
    gateway = Gateway(settings, tmp_path, package="actors")
    asked = {"GATEWAY": gateway.url, "TOKEN": token}
    try:
        gateway.wait_until_ready()
        first, second = (json.loads(run("sh", "order.sh", **asked)) for _ in range(2))
        contracts = KnownContracts.from_gateway(gateway.url, token)
    finally:
        gateway.kill()

    assert first["id"] == second["id"]
    assert contracts.contract("content.import_feed").queue == "content"
    assert [each[0] for each in taken(content)] == [NIGHTLY]
