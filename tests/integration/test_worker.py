"""Real workers on a real RabbitMQ: what people rely on when they type `dramatiq actors`."""

import json
import os
import signal
import socket

import httpx
import pika
from processes import envelope, until

from deploy.local import ports


def lines(ledger):
    return ledger.read_text().splitlines()


def test_a_message_from_any_language_runs(start_worker, shop, ledger):
    start_worker().wait_until_ready()

    shop.publish(envelope("good", n=1))
    shop.publish(envelope("gentle", n=2))

    until(lambda: len(lines(ledger)) == 2)
    assert sorted(lines(ledger)) == ["gentle 2 1", "good 1"]


def test_the_same_message_twice_runs_once(start_worker, shop, ledger):
    worker = start_worker()
    worker.wait_until_ready()
    body = envelope("good", n=1)

    shop.publish(body)
    shop.publish(body)

    until(lambda: worker.events("job_duplicate"))
    assert lines(ledger) == ["good 1"]


def test_a_failing_job_is_retried_through_the_ladder_and_becomes_a_dead_letter(start_worker, shop, ledger):
    worker = start_worker()
    worker.wait_until_ready()

    shop.publish(envelope("failing"))

    until(lambda: worker.events("job_dead"))
    assert lines(ledger) == ["failing 1", "failing 2"]
    ((properties, body),) = shop.dead()
    headers = properties.headers
    assert headers["dutiful-reason"] == "retries_exhausted"
    assert headers["dutiful-attempts"] == 2
    assert headers["dutiful-exception-type"] == "RuntimeError"
    assert "it is broken" in headers["dutiful-traceback"]
    assert "x-death" not in headers
    assert json.loads(body)["actor_name"] == "failing"


def test_each_bad_message_ends_with_its_reason_and_the_good_ones_between_succeed(start_worker, shop, ledger):
    worker = start_worker()
    worker.wait_until_ready()
    bad = {
        b"\xff\x00 no json": "undecodable",
        envelope("good", n="many"): "contract",
        envelope("good", queue="elsewhere", n=1): "contract",
        envelope("hopeless"): "permanent",
    }

    for number, body in enumerate(bad):
        shop.publish(body)
        shop.publish(envelope("good", n=number))

    until(lambda: len(lines(ledger)) == len(bad) and shop.count("shop.XQ") == len(bad))
    reasons = {body: properties.headers["dutiful-reason"] for properties, body in shop.dead()}
    assert sorted(reasons.values()) == sorted(bad.values())
    assert reasons[b"\xff\x00 no json"] == "undecodable", "kept byte for byte"
    assert worker.process.poll() is None


def test_a_job_over_its_time_limit_is_stopped(start_worker, shop):
    worker = start_worker()
    worker.wait_until_ready()

    shop.publish(envelope("endless"))

    until(lambda: worker.events("job_dead"))
    assert shop.dead()[0][0].headers["dutiful-reason"] == "time_limit"


def test_a_worker_stops_within_seconds_and_finishes_what_it_began(start_worker, shop, ledger):
    worker = start_worker("-p", "2", "-t", "2")
    worker.wait_until_ready(2)
    for number in range(20):
        shop.publish(envelope("slow", n=number, seconds=1))
    until(lambda: "slow 0 began" in lines(ledger))

    status, seconds = worker.stop()

    began = [line.split()[1] for line in lines(ledger) if line.endswith("began")]
    ended = [line.split()[1] for line in lines(ledger) if line.endswith("ended")]
    assert status == 0
    assert seconds < 8
    assert sorted(began) == sorted(ended)
    assert shop.count() == 20 - len(ended), "what had not begun is back in its queue"


def test_a_worker_that_is_killed_loses_nothing_and_another_goes_on(start_worker, shop, ledger):
    worker = start_worker("-p", "1", "-t", "2")
    worker.wait_until_ready()
    for number in range(12):
        shop.publish(envelope("slow", n=number, seconds=0.3))
    until(lambda: "slow 1 ended" in lines(ledger))

    worker.kill()
    second = start_worker("-p", "1", "-t", "2")
    second.wait_until_ready()

    until(lambda: len({line for line in lines(ledger) if line.endswith("ended")}) == 12, what=second.text())
    until(lambda: shop.count() == 0)
    assert shop.dead() == []


def test_metrics_and_health_tell_what_happened(start_worker, shop, ledger):
    (port,) = ports.choose(1)
    worker = start_worker("-p", "2", "-t", "2", DUTIFUL_METRICS__PORT=str(port))
    worker.wait_until_ready(2)
    url = f"http://127.0.0.1:{port}"
    until(lambda: answers(f"{url}/health") == 200)
    nothing = 'dutiful_jobs_finished_total{actor="good",outcome="dead",queue="shop"} 0.0'
    assert nothing in httpx.get(f"{url}/metrics").text, "a counter that exists starts at 0"

    for number in range(10):
        shop.publish(envelope("good", n=number))
    until(lambda: len(lines(ledger)) == 10)

    wanted = 'dutiful_jobs_finished_total{actor="good",outcome="succeeded",queue="shop"} 10.0'
    until(lambda: wanted in httpx.get(f"{url}/metrics").text)
    child = worker.children()[0]
    os.kill(child, signal.SIGSTOP)
    try:
        until(lambda: answers(f"{url}/health") == 503)
        assert "silent" in httpx.get(f"{url}/health").text
    finally:
        os.kill(child, signal.SIGCONT)


def test_a_taken_port_is_named(start_worker, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        worker = start_worker("-p", "1", "-t", "1", DUTIFUL_METRICS__PORT=str(port))

        until(lambda: f"127.0.0.1:{port}" in worker.text())
    assert "DUTIFUL_METRICS__PORT" in worker.text()


def test_a_vhost_with_other_queues_is_refused_once_and_in_words(start_worker, shop, rabbitmq):
    with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
        connection.channel().queue_declare("shop", durable=True)  # as stock Dramatiq would

    worker = start_worker()

    assert worker.process.wait(timeout=30) != 0
    assert "other arguments" in worker.text()
    assert "add_vhost" in worker.text()


def test_a_missing_vhost_is_refused_in_words(start_worker, rabbitmq):
    worker = start_worker(DUTIFUL_RABBITMQ__URL=rabbitmq.rpartition("/")[0] + "/nowhere")

    assert worker.process.wait(timeout=30) != 0
    assert "add_vhost" in worker.text()


def test_a_postgresql_without_tables_is_refused_with_the_command_that_mends_it(start_worker, postgres):
    worker = start_worker(DUTIFUL_STORE__URL=postgres)

    assert worker.process.wait(timeout=30) != 0
    assert "dutiful store migrate" in worker.text()


def answers(url):
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.TransportError:
        return None
