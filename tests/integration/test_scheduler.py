"""`periodiq` with our tick engine: it publishes, it lives through outages, and it stops when it is told to."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pika
import pytest
from sqlalchemy import select

from deploy.local import ports
from scheduling.names import message_id, tick_key
from workers.store import tables, ticks
from workers.store.engine import create_store_engine
from workers.store.migrate import migrate
from workers.transport import topology

PERIODIQ = Path(sys.executable).with_name("periodiq")
ROOT = Path(__file__).parents[2]
SITE = Path(__file__).parent / "scheduler_site"
LONGEST_STOP_SECONDS = 10  # its container is killed after 15
AN_HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


class Scheduler:
    """A scheduler's process, and what it has logged."""

    def __init__(self, module, environment, *, before=()):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DUTIFUL_")}
        self.process = subprocess.Popen(
            [*before, str(PERIODIQ), module, "-P", str(SITE)],
            cwd=ROOT,
            env=kept | {"PYTHONPATH": str(ROOT)} | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = []
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def events(self, name):
        objects = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [each for each in objects if each["event"] == name]

    def wait_for(self, name, count=1, seconds=30):
        until(lambda: len(self.events(name)) >= count or self.process.poll() is not None, seconds)
        assert len(self.events(name)) >= count, "".join(self.lines)
        return self.events(name)

    def stop(self, signum=signal.SIGTERM):
        """The exit status, and how many seconds it took."""
        asked = time.monotonic()
        self.process.send_signal(signum)
        status = self.process.wait(timeout=20)
        return status, time.monotonic() - asked

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()


class Proxy:
    """A door to RabbitMQ on a port of its own, which can be shut: connections are refused and those there are cut."""

    def __init__(self, host, port):
        self.upstream = host, port
        (self.port,) = ports.choose(1)
        self.listener = None
        self.sockets = []

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=[self.listener], daemon=True).start()

    def accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self.upstream)
                self.sockets += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self.pump, args=ends, daemon=True).start()

    def pump(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def shut(self):
        if self.listener is not None:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.sockets.clear()


def until(happened, seconds):
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


@pytest.fixture
def store(tmp_path):
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
    migrate(engine, package=None)
    yield engine
    engine.dispose()


@pytest.fixture
def environment(store):
    """A store on disk, and a broker in memory unless a test says more."""
    return {
        "DUTIFUL_STORE__URL": str(store.url),
        "DUTIFUL_RABBITMQ__URL": "memory://",
        "DUTIFUL_RABBITMQ__PUBLISH_TIMEOUT_SECONDS": "2",
        "DUTIFUL_METRICS__PORT": "0",
    }


@pytest.fixture
def start():
    running = []

    def start(module, environment, **options):
        running.append(Scheduler(module, environment, **options))
        return running[-1]

    yield start
    for each in running:
        each.close()


@pytest.fixture
def queue(rabbitmq):
    """The work queue of the site's job, and what is in it."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq))
    yield Queue(connection, "sweeping")
    connection.close()


class Queue:
    def __init__(self, connection, name):
        self.connection, self.name = connection, name
        self.messages = []

    def take(self):
        """Every message so far."""
        with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):  # not declared yet
            channel = self.connection.channel()
            while (got := channel.basic_get(self.name, auto_ack=True))[0] is not None:
                self.messages.append(got)
            channel.close()
        return self.messages


def seen_an_hour_ago(store):
    """Make the schedule an old acquaintance, so that a tick is due as soon as a scheduler starts."""
    with store.begin() as connection:
        ticks.first_seen(connection, "sweep", "* * * * * UTC")
        connection.execute(tables.schedules.update().values(first_seen_at=AN_HOUR_AGO))


def recorded(store):
    with store.connect() as connection:
        return connection.execute(select(tables.ticks).order_by(tables.ticks.c.due_at)).all()


def through(port, rabbitmq):
    """The settings of a process that comes to RabbitMQ by another port."""
    url = urlsplit(rabbitmq)
    there = url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{port}")
    return {"DUTIFUL_RABBITMQ__URL": there.geturl()}


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_due_tick_is_in_its_queue_once_with_two_schedulers(start, environment, rabbitmq, database, request):
    if database == "postgres":
        environment["DUTIFUL_STORE__URL"] = request.getfixturevalue("postgres")
    store = create_store_engine(environment["DUTIFUL_STORE__URL"])
    migrate(store, package=None)
    seen_an_hour_ago(store)
    environment["DUTIFUL_RABBITMQ__URL"] = rabbitmq
    first, second = start("minutely", environment), start("minutely", environment)
    until(lambda: first.events("tick_published") or second.events("tick_published"), 30)
    for each in (first, second):
        each.wait_for("scheduler_started", 2)  # the site's own timetable first, then this one in its place
        assert each.stop()[0] == 0
    rows = recorded(store)
    messages = request.getfixturevalue("queue").take()
    assert rows
    assert [properties.message_id for _, properties, _ in messages] == [row.message_id for row in rows]
    assert [properties.headers["dutiful-key"] for _, properties, _ in messages] == [
        f"sweep@{row.due_at:%Y-%m-%dT%H:%M:%SZ}" for row in rows
    ]
    assert {json.dumps(json.loads(body)["kwargs"]) for _, _, body in messages} == {'{"room": "hall"}'}
    store.dispose()


@pytest.mark.long
def test_ticks_wait_for_a_rabbitmq_that_is_away_at_the_start_and_again_later(
    start, environment, store, rabbitmq, queue
):
    seen_an_hour_ago(store)
    proxy = Proxy(urlsplit(rabbitmq).hostname, urlsplit(rabbitmq).port)
    scheduler = start("minutely", environment | through(proxy.port, rabbitmq))
    scheduler.wait_for("tick_failed", 2)
    assert queue.take() == []
    proxy.open()
    scheduler.wait_for("tick_published")
    proxy.shut()
    orphan = AN_HOUR_AGO.replace(second=0, microsecond=0)
    key = tick_key("sweep", orphan)
    with store.begin() as connection:  # as a scheduler that died before it could publish
        ticks.record(connection, "sweep", orphan, message_id=message_id(key), key=key)
    failures = len(scheduler.events("tick_failed"))
    scheduler.wait_for("tick_failed", failures + 2)
    proxy.open()
    until(lambda: all(row.published_at for row in recorded(store)), 30)
    assert scheduler.stop()[0] == 0
    proxy.shut()
    rows = recorded(store)
    assert len(rows) >= 2
    assert all(row.published_at for row in rows), "".join(scheduler.lines)
    assert {properties.message_id for _, properties, _ in queue.take()} == {row.message_id for row in rows}


def test_a_scheduler_whose_rabbitmq_is_silent_stops_within_seconds(start, environment, store):
    seen_an_hour_ago(store)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never says a word
        environment["DUTIFUL_RABBITMQ__URL"] = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/dutiful"
        scheduler = start("minutely", environment)
        scheduler.wait_for("tick_recorded")
        status, seconds = scheduler.stop()
    assert status == 0
    assert seconds < LONGEST_STOP_SECONDS
    assert [row.published_at for row in recorded(store)] == [None]


def test_a_scheduler_refuses_a_vhost_that_belongs_to_another_store(start, environment, store, rabbitmq):
    seen_an_hour_ago(store)
    parameters = pika.URLParameters(rabbitmq)
    with pika.BlockingConnection(parameters) as connection:
        topology.declare_store(connection.channel(), "another")
    scheduler = start("minutely", environment | {"DUTIFUL_RABBITMQ__URL": rabbitmq})
    assert scheduler.process.wait(timeout=30) == 67
    (said,) = scheduler.wait_for("vhost_of_another_store")
    assert "another" in said["error"]
    assert recorded(store) == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_scheduler_that_sleeps_stops_within_seconds(start, environment, signum):
    scheduler = start("scheduling", environment)
    scheduler.wait_for("scheduler_started")
    status, seconds = scheduler.stop(signum)
    assert status == 0
    assert seconds < LONGEST_STOP_SECONDS


def test_a_scheduler_stops_also_as_the_first_process_of_a_container(start, environment):
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("needs the right to make a process namespace")
    scheduler = start("scheduling", environment, before=[unshare, "--pid", "--fork"])
    scheduler.wait_for("scheduler_started")
    children = Path(f"/proc/{scheduler.process.pid}/task/{scheduler.process.pid}/children")
    first = int(children.read_text())
    assert f"NSpid:\t{first}\t1\n" in Path(f"/proc/{first}/status").read_text()
    asked = time.monotonic()
    os.kill(first, signal.SIGTERM)
    assert scheduler.process.wait(timeout=20) == 0
    assert time.monotonic() - asked < LONGEST_STOP_SECONDS


def test_the_site_s_own_timetable_is_what_the_scheduler_runs(start, environment):
    scheduler = start("scheduling", environment)
    (started,) = scheduler.wait_for("scheduler_started")
    assert started["schedules"]["sitemap-nightly"] == "30 2 * * * UTC"


def test_a_scheduler_waits_for_a_store_that_is_not_migrated_yet(start, environment, tmp_path):
    environment["DUTIFUL_STORE__URL"] = f"sqlite:///{tmp_path}/late.db"
    scheduler = start("minutely", environment)
    scheduler.wait_for("tick_failed", 2)
    late = create_store_engine(environment["DUTIFUL_STORE__URL"])
    migrate(late, package=None)
    seen_an_hour_ago(late)
    scheduler.wait_for("tick_published")
    assert scheduler.stop()[0] == 0
    late.dispose()
