"""/metrics and /health tell what is so: beats that went silent, threads that died, links that are gone."""

import json
import logging
import os
import socket
import struct
import threading
import time

import dramatiq
import httpx
import pytest
from prometheus_client import generate_latest

from workers import exposition
from workers.memory import MemoryBroker
from workers.middleware.job_metrics import JobMetrics

WELL = {"threads": 4, "dead_threads": 0, "disconnected": []}


@pytest.fixture
def beat(tmp_path):
    """Leave the beat of a worker process: beat(41, seconds_ago=60, dead_threads=1)."""

    def leave(pid, *, seconds_ago=0, **state):
        path = tmp_path / f"beat-{pid}.json"
        path.write_text(json.dumps(WELL | state))
        moment = time.time() - seconds_ago
        os.utime(path, (moment, moment))

    return leave


@pytest.fixture
def serve(monkeypatch):
    """Serve on a free port: the address."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    made = []

    def start(problems=list):
        made.append(exposition.server("127.0.0.1", 0, generate_latest, problems))
        return f"http://127.0.0.1:{made[-1].server_port}"

    yield start
    for each in made:
        each.shutdown()
        each.server_close()


def test_workers_that_beat_have_no_problem(tmp_path, beat):
    beat(41)
    beat(42, seconds_ago=9)

    assert exposition.worker_problems(tmp_path) == []


def test_no_beat_at_all_is_a_problem(tmp_path):
    assert exposition.worker_problems(tmp_path) == ["no worker process is beating"]


def test_a_worker_that_went_silent_is_named_with_its_silence(tmp_path, beat):
    beat(41)
    beat(42, seconds_ago=60)

    assert exposition.worker_problems(tmp_path) == ["worker 42 has been silent for 60 s"]


def test_a_worker_that_lost_threads_says_how_many(tmp_path, beat):
    beat(41, dead_threads=3)

    assert exposition.worker_problems(tmp_path) == ["worker 41 has lost 3 of 4 threads"]


def test_a_worker_without_its_link_names_the_queues(tmp_path, beat):
    beat(41, disconnected=["content", "site"])

    assert exposition.worker_problems(tmp_path) == ["worker 41 isn't connected for content, site"]


def test_a_beat_tells_of_live_threads_then_of_a_dead_one_and_leaves_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    broker = MemoryBroker(middleware=[])
    broker.declare_queue("shop")
    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=2)
    worker.start()
    beat = exposition.Beat(worker, lambda: None)
    beat.start()
    try:
        until(lambda: exposition.worker_problems(tmp_path) == [])

        worker.workers[0].stop()
        worker.workers[0].join()

        lost = [f"worker {os.getpid()} has lost 1 of 2 threads"]
        until(lambda: exposition.worker_problems(tmp_path) == lost)
    finally:
        beat.stop()
        worker.stop()
    assert list(tmp_path.iterdir()) == []


def test_health_is_200_while_there_is_no_problem(serve):
    answer = httpx.get(f"{serve()}/health")

    assert (answer.status_code, answer.json()) == (200, {"ok": True})


def test_health_is_503_with_every_reason(serve):
    address = serve(lambda: ["worker 41 is gone", "worker 42 is gone"])

    answer = httpx.get(f"{address}/health")
    live = httpx.get(f"{address}/health/live")

    assert answer.status_code == 503
    assert answer.json() == {"ok": False, "reasons": ["worker 41 is gone", "worker 42 is gone"]}
    assert live.status_code == 200, "it is alive, though not ready"


def test_metrics_are_in_prometheus_own_format(serve):
    answer = httpx.get(f"{serve()}/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "python_info{" in answer.text


def test_another_path_is_404_and_names_those_that_are_there(serve):
    answer = httpx.get(f"{serve()}/metricz")

    assert answer.status_code == 404
    assert "/metrics, /health, /health/live or /health/progress" in answer.text


def test_a_client_that_hangs_up_leaves_no_traceback_and_hurts_nobody(serve, capfd):
    address = serve()
    port = int(address.rpartition(":")[2])
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")

    assert httpx.get(f"{address}/health").status_code == 200
    until(lambda: not any("process_request_thread" in thread.name for thread in threading.enumerate()))
    assert "Traceback" not in capfd.readouterr().err


def test_a_taken_port_ends_with_status_68_and_names_the_setting(monkeypatch, caplog):
    monkeypatch.setattr(exposition, "_PORT_PATIENCE_SECONDS", 0.3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(SystemExit) as ended, caplog.at_level(logging.CRITICAL):
            exposition.server("127.0.0.1", port, generate_latest, list)

    assert ended.value.code == 68
    assert f"127.0.0.1:{port}" in caplog.text
    assert "DUTIFUL_METRICS__PORT" in caplog.text


def test_a_port_that_is_given_up_meanwhile_is_taken():
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    leaving = threading.Timer(0.5, taken.close)
    leaving.start()

    made = exposition.server("127.0.0.1", port, generate_latest, list)

    try:
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    finally:
        leaving.join()
        made.shutdown()
        made.server_close()


def test_a_folder_that_counters_can_t_be_left_in_ends_the_worker_and_names_the_setting(tmp_path, caplog, monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    (tmp_path / "file").touch()
    middleware = JobMetrics(
        host="127.0.0.1", port=0, directory=tmp_path / "file", environment="development", revision=""
    )

    with pytest.raises(SystemExit) as ended, caplog.at_level(logging.CRITICAL):
        MemoryBroker(middleware=[middleware]).emit_after("process_boot")

    assert ended.value.code == 1
    assert "DUTIFUL_METRICS__DIRECTORY" in caplog.text
    assert not exposition.is_shared()


def until(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
