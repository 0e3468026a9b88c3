"""A worker says of itself what it lives on: in /metrics, in /health and in /health/progress."""

import re
import signal
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from processes import Queue, Worker, envelope, until
from proxy import Proxy

from workers.store.engine import create_store_engine
from workers.store.migrate import migrate

SITE = Path(__file__).parent / "vital_site"


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(rabbitmq, store):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {"RABBITMQ__URL": rabbitmq, "STORE__URL": store, "METRICS__PORT": port}
        environment = {f"DUTIFUL_{name}": str(value) for name, value in settings.items()}
        started.append(Worker(SITE, environment, tmp_path, "-p", "1", "-t", "1", module="ward"))
        started[-1].url = f"http://127.0.0.1:{port}"
        return started[-1]

    yield begin
    for each in started:
        each.kill()


def value(worker, name):
    """The value of a metric with these labels."""
    try:
        text = httpx.get(f"{worker.url}/metrics").text
    except httpx.TransportError:
        return None  # the process that serves it starts beside the workers
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def test_a_worker_shows_its_vital_signs_and_says_when_its_threads_are_stuck_and_that_it_stops(
    start, rabbitmq, tmp_path
):
    worker = start(rabbitmq, f"sqlite:///{tmp_path}/store.db")
    worker.wait_until_ready()
    probe = 'dutiful_queue_probe_timestamp_seconds{queue="ward"}'
    until(lambda: value(worker, probe))
    assert value(worker, "dutiful_worker_memory_bytes") > 1_000_000
    assert value(worker, "dutiful_worker_threads") == 1
    assert value(worker, "dutiful_broker_blocked") == 0
    assert value(worker, 'dutiful_broker_errors_total{operation="consume"}') == 0
    assert value(worker, 'dutiful_store_seconds_count{operation="look"}') >= 1
    assert time.time() - value(worker, probe) < 10, "an empty queue has no old job"
    assert httpx.get(f"{worker.url}/health/progress").json() == {"ok": True}

    ward = Queue(rabbitmq, "ward")
    ward.publish(
        envelope("blocked", queue="ward"), envelope("blocked", queue="ward"), envelope("blocked", queue="ward")
    )
    until(lambda: httpx.get(f"{worker.url}/health/progress").status_code == 503, 40, what="nobody noticed")

    (reason,) = httpx.get(f"{worker.url}/health/progress").json()["reasons"]
    assert re.fullmatch(r"worker \d+: jobs wait in ward and none has ended for \d+ s", reason)
    assert httpx.get(f"{worker.url}/health").json() == {"ok": True}, "it is connected, and its store is there"
    assert time.time() - value(worker, probe) > 10
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: "takes nothing new" in httpx.get(f"{worker.url}/health").text, what="it didn't say that it stops")


def proxy_to(url):
    """A proxy to the server of a URL, which can be frozen."""
    address = urlsplit(url)
    return Proxy(address.hostname, address.port)


def through(proxy, url):
    """The same URL, through the proxy."""
    return url.replace(f":{urlsplit(url).port}/", f":{proxy.port}/")


def reasons(worker):
    return " ".join(httpx.get(f"{worker.url}/health").json().get("reasons", []))


def test_links_that_are_frozen_are_said_to_be_and_to_be_well_again(start, rabbitmq, postgres):
    engine = create_store_engine(postgres)
    migrate(engine)
    engine.dispose()
    with proxy_to(rabbitmq) as broker, proxy_to(postgres) as store:
        worker = start(through(broker, rabbitmq), through(store, postgres))
        worker.wait_until_ready()
        until(lambda: value(worker, "dutiful_store_up") == 1)
        until(lambda: httpx.get(f"{worker.url}/health").json() == {"ok": True}, what="it is not well")

        broker.freeze()
        store.freeze()
        until(lambda: "RabbitMQ doesn't answer" in reasons(worker), what="nobody noticed that RabbitMQ is frozen")
        until(lambda: "the store can't be used" in reasons(worker), what="nobody noticed that the store is frozen")
        assert httpx.get(f"{worker.url}/health/live").status_code == 200

        broker.thaw()
        store.thaw()
        until(lambda: httpx.get(f"{worker.url}/health").json() == {"ok": True}, 40, what="it is not well again")
        worker.kill()
