"""A worker says of itself what it lives on: in /metrics, in /health and in /health/progress."""

import re
import signal
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import Queue, Worker, envelope, until

SITE = Path(__file__).parent / "vital_site"


@pytest.fixture
def worker(rabbitmq, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = Worker(
        SITE,
        {
            "DUTIFUL_RABBITMQ__URL": rabbitmq,
            "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
            "DUTIFUL_METRICS__PORT": str(port),
        },
        tmp_path,
        *("-p", "1", "-t", "1"),
        module="ward",
    )
    started.url = f"http://127.0.0.1:{port}"
    yield started
    started.kill()


def value(worker, name):
    """The value of a metric with these labels."""
    try:
        text = httpx.get(f"{worker.url}/metrics").text
    except httpx.TransportError:
        return None  # the process that serves it starts beside the workers
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def test_a_worker_shows_its_vital_signs_and_says_when_its_threads_are_stuck_and_that_it_stops(worker, rabbitmq):
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
