"""The gateway in a process of its own, with a real RabbitMQ behind it."""

import json
import os
import signal
import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from gateway import SITE, Gateway, add_token
from processes import Worker, until

from workers.publisher import KnownContracts
from workers.store import tokens

PROOF = bool(os.environ.get("PROOF"))
WRONG = 10_000 if PROOF else 600
ORDER = {"arguments": {"number": 7, "lines": [{"item": "lamp", "count": 2}]}}


@pytest.fixture
def told(tmp_path):
    return tmp_path / "dies"


@pytest.fixture
def environment(environment, told):
    return environment | {"COUNTER_DIES": str(told), "DUTIFUL_RABBITMQ__PUBLISH_TIMEOUT_SECONDS": "1"}


@pytest.fixture
def token(environment):
    return add_token(environment["DUTIFUL_STORE__URL"], "shop", tokens.EVERY)


@pytest.fixture
def gateway(environment, token, tmp_path):
    running = Gateway(environment, tmp_path)
    yield running
    running.kill()


@pytest.fixture
def client(gateway, token):
    gateway.wait_until_ready()
    with gateway.client(token) as client:
        yield client


@pytest.fixture
def work(environment, tmp_path):
    """Start a worker for the site; it need not be ready yet."""
    started = []

    def begin():
        started.append(Worker(SITE, environment, tmp_path, "-p", "1", "-t", "4", module="counter"))

    yield begin
    for worker in started:
        worker.kill()


def test_what_is_asked_for_is_done_and_can_be_asked_after(client, token, work, ledger):
    known = KnownContracts.from_gateway(str(client.base_url), token)
    known.contract("order").check({"number": 7, "lines": []})
    good = client.post("/v1/jobs/order", json=ORDER)
    mailed = client.post("/v1/jobs/mail", json={"arguments": {"address": "a", "day": 3}})
    bad = client.post("/v1/jobs/hopeless", json={}, headers={"Idempotency-Key": "1"})
    assert [answer.status_code for answer in (good, mailed, bad)] == [202, 202, 202]
    assert client.get(good.headers["location"]).json()["state"] == "unknown"  # it waits, and nobody knows of it
    assert client.get(bad.headers["location"]).json()["state"] == "waiting"

    work()

    def states():
        return [client.get(answer.headers["location"]).json()["state"] for answer in (good, mailed, bad)]

    until(lambda: states() == ["done", "done", "dead"])
    assert sorted(ledger.read_text().splitlines()) == ["mail a 3", f"order 7 {good.json()['id']}"]


def test_a_gateway_that_dies_before_or_after_publishing_leaves_one_job_to_who_asks_again(
    gateway, client, told, work, ledger
):
    named = [{"Idempotency-Key": where} for where in ("before", "after")]
    for each in named:
        told.write_text(each["Idempotency-Key"])
        with pytest.raises(Exception, match=r"disconnected|reset|refused"):
            client.post("/v1/jobs/order", json=ORDER, headers=each)
        gateway.process.wait()
        gateway.start()
        gateway.wait_until_ready()

    first = [client.post("/v1/jobs/order", json=ORDER, headers=each) for each in named]
    assert {answer.status_code for answer in first} <= {202, 409}
    assert first[1].status_code == 409, "its claim is not over yet"
    answers = [
        until(lambda e=each: (a := client.post("/v1/jobs/order", json=ORDER, headers=e)).status_code == 202 and a)
        for each in named
    ]

    work()
    until(lambda: len(ledger.read_text().splitlines()) == 2)
    last = client.post("/v1/jobs/order", json=ORDER)  # when this one is done, so are the copies before it
    until(lambda: last.json()["id"] in ledger.read_text())
    lines = ledger.read_text().splitlines()
    assert sorted(lines) == sorted(f"order 7 {each.json()['id']}" for each in [*answers, last])


def test_it_answers_what_it_has_begun_before_it_stops(gateway, client, token):
    body = json.dumps(ORDER).encode()
    head = (
        "POST /v1/jobs/order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as link:
        link.sendall(head.encode() + body[:10])
        client.get("/health/live")  # by now the other request has been read up to its tenth byte
        stopping = ThreadPoolExecutor(1).submit(gateway.stop)
        until(lambda: "Shutting down" in gateway.log.read_text() or stopping.done())
        link.sendall(body[10:])
        answer = link.recv(10_000)
        status, seconds = stopping.result()

    assert answer.startswith(b"HTTP/1.1 202")
    assert (status, seconds < 10) == (-signal.SIGTERM, True), "uvicorn ends with the signal, once all is done"
    lines = [line for line in gateway.log.read_text().splitlines() if not line.startswith("{")]
    assert not lines, "every line is JSON"


def test_wrong_tokens_do_not_slow_down_right_ones(gateway, client, token):
    def took(client):
        began = time.perf_counter()
        assert client.get("/v1/actors").status_code == 200
        return time.perf_counter() - began

    before = statistics.median(took(client) for _ in range(30))
    seen = []

    def attack(number):
        wrong = [token[:-1] + ("a" if token[-1] != "a" else "b"), "dutiful_0123456789ab_guess", "guess", "a_b_c"]
        with gateway.client() as stranger:
            for turn in range(number):
                headers = {"Authorization": f"Bearer {wrong[turn % 4]}"}
                seen.append(stranger.get("/v1/actors", headers=headers).status_code)

    attackers = [threading.Thread(target=attack, args=(WRONG // 2,)) for _ in range(2)]
    for each in attackers:
        each.start()
    meanwhile = []
    while any(each.is_alive() for each in attackers):
        meanwhile.append(took(client))
    after = statistics.median(took(client) for _ in range(30))

    assert seen == [401] * WRONG
    assert statistics.median(meanwhile) < 10 * before + 0.05, (before, meanwhile)  # three share the one process then
    assert after < 3 * before + 0.02, (before, after)


def test_a_gateway_refuses_the_vhost_of_another_store(gateway, client, environment, tmp_path):
    other = environment | {"DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/other.db"}

    second = Gateway(other, tmp_path)

    assert second.process.wait(timeout=30) != 0
    assert "belongs to store" in second.log.read_text()
