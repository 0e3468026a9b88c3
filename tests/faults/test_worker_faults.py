"""Real worker processes are cut off, killed and restarted: every job is still run, and none is dead by accident."""

import os
import threading
import time
from collections import Counter

import pytest
from processes import Queue, envelope, until

PROOF = bool(os.environ.get("PROOF"))
RESTARTS = 30 if PROOF else 12
LIFE_SECONDS = 1  # long enough to renew what came
LONG_SECONDS = 30 if PROOF else 9


@pytest.mark.long
def test_a_job_that_outlives_a_reconnect_acknowledges_no_other_message(start, shop, vhost):
    worker = start("-p", "1", "-t", "4")
    shop.publish(*(envelope("good", n=number) for number in range(3)))
    until(lambda: len(worker.lines()) == 3)
    # Tags 4 to 11. After the reconnect they are 1 to 8: tag 4 is then number 13, which still runs.
    for number, seconds in enumerate([7, 12, 12, 12, 0, 0, 0, 0], 10):
        shop.publish(envelope("slow", n=number, seconds=seconds))
    until(lambda: "slow 13 began" in worker.lines())

    vhost.cut(least=2)
    until(lambda: "slow 10 ended" in worker.lines())
    until(lambda: worker.events("job_duplicate"), what="number 10 did not come again")
    worker.kill()
    second = start("-p", "1", "-t", "4")

    ends = {f"slow {number} ended" for number in range(10, 18)}
    until(lambda: ends <= set(second.lines()), what=second.text())
    until(lambda: shop.count() == 0)
    assert shop.dead() == []


@pytest.mark.long
@pytest.mark.timeout(400 + 10 * RESTARTS)
def test_restarts_before_anything_is_done_make_no_dead_letters(start, rabbitmq, tmp_path):
    """The broker gives a message up after ten deliveries; each is renewed after five, although no thread is idle."""
    jobs, queue = 100, Queue(rabbitmq, "gated")
    worker = start("-p", "1", "-t", "2", site="brittle")
    queue.publish(*(envelope("gated", queue="gated", n=number) for number in range(jobs)))

    for _ in range(RESTARTS):
        until(lambda: queue.count() == 0, what="not everything was prefetched")
        time.sleep(LIFE_SECONDS)
        worker.kill()
        worker = start("-p", "1", "-t", "2", site="brittle")
    assert worker.lines() == [], "nothing was to be done yet"
    (tmp_path / "gate").touch()

    until(lambda: {f"gated {number}" for number in range(jobs)} <= set(worker.lines()), what=worker.text()[-2000:])
    assert queue.dead() == []


def test_what_is_done_is_acknowledged_before_a_worker_stops(start, shop):
    worker = start("-p", "1", "-t", "4")
    feeding = threading.Event()

    def feed():
        number = 0
        while not feeding.is_set():
            shop.publish(envelope("good", n=number))
            number += 1

    thread = threading.Thread(target=feed)
    thread.start()
    until(lambda: len(worker.lines()) >= 100)

    status, _ = worker.stop()
    feeding.set()
    thread.join()
    done = Counter(worker.lines())
    assert status == 0
    second = start("-p", "1", "-t", "4")
    until(lambda: shop.count() == 0)
    second.stop()

    assert second.events("job_duplicate") == [], "a job that was done was handed out again"
    assert set(Counter(second.lines()).values()) == {1}
    assert len(second.lines()) >= len(done)


@pytest.mark.timeout(400 + LONG_SECONDS)
def test_heartbeats_go_on_while_a_job_holds_its_thread(start, shop, vhost):
    worker = start("-p", "1", "-t", "1", DUTIFUL_RABBITMQ__HEARTBEAT_SECONDS="2")
    shop.publish(envelope("slow", n=1, seconds=LONG_SECONDS))
    until(lambda: "slow 1 began" in worker.lines())
    before = until(vhost.connections, what="no connection was seen")

    until(lambda: "slow 1 ended" in worker.lines(), seconds=LONG_SECONDS + 10)

    assert {each["timeout"] for each in before} == {2}
    assert {each["name"] for each in before} <= {each["name"] for each in vhost.connections()}
    worker.stop()
    assert worker.lines() == ["slow 1 began", "slow 1 ended"]
    assert shop.count() == 0


def test_a_process_has_two_connections_whatever_the_number_of_its_queues(start, shop, vhost):
    worker = start("-p", "2", "-t", "2", site="many")
    shop.publish(*(envelope("failing") for _ in range(20)))  # so that each process publishes as well
    until(lambda: len(worker.lines()) == 40)

    until(lambda: len(vhost.connections()) == 4, what=f"connections: {len(vhost.connections())}")
    owners = Counter(each["client_properties"]["connection_name"] for each in vhost.connections())
    assert set(owners) == {f"dutiful {pid}" for pid in worker.children()[:2]}
    assert set(owners.values()) == {2}
    until(lambda: channels(vhost)[-2:] == [21, 21], what=f"a channel a queue: {channels(vhost)}")


def channels(vhost):
    found = vhost.client.get(f"/api/vhosts/{vhost.name}/channels").raise_for_status().json()
    return sorted(Counter(each["connection_details"]["name"] for each in found).values())
