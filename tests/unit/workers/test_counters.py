import threading
import uuid

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from workers.counters import Counters
from workers.delivery import Outcome
from workers.histogram import Histogram


@pytest.fixture
def job():
    """The counters of an actor that nobody else counts, and a way to read them."""
    counters, actor = Counters(), f"actor-{uuid.uuid4()}"

    def read(name, **labels):
        return REGISTRY.get_sample_value(f"dutiful_{name}", {"queue": "shop", "actor": actor, **labels})

    return counters, counters.of("shop", actor), read


def test_every_known_outcome_stands_at_0_from_the_start(job):
    _, _, read = job

    assert read("job_attempts_total", outcome="retried") == 0
    assert read("jobs_finished_total", outcome="dead") == 0
    assert read("job_wait_seconds_count") == 0


def test_what_is_noted_shows_once_it_is_added_up(job):
    counters, shop, read = job
    shop.began(0.02)
    shop.began(None)
    shop.left()
    shop.ended(Outcome("succeeded"), took=0.2, total=0.3)
    assert read("jobs_running") == 0

    counters.add_up()
    counters.add_up()

    assert read("jobs_running") == 1
    assert read("job_attempts_total", outcome="succeeded") == 1
    assert read("jobs_finished_total", outcome="succeeded") == 1
    assert (read("job_wait_seconds_count"), read("job_wait_seconds_sum")) == (1, 0.02)
    assert (read("job_duration_seconds_sum"), read("job_total_seconds_sum")) == (0.2, 0.3)


def test_a_failure_counts_with_its_reason_and_its_exception(job):
    counters, shop, read = job
    shop.ended(Outcome("dead", reason="permanent", error=KeyError()), took=1, total=1)
    shop.ended(Outcome("deferred", reason="still_running"), took=0, total=1)
    counters.add_up()

    assert read("jobs_dead_lettered_total", reason="permanent") == 1
    assert read("jobs_deferred_total", why="still_running") == 1
    assert read("job_attempts_total", outcome="failed") == 1
    assert read("jobs_finished_total", outcome="dead") == 1
    assert read("job_duration_seconds_count") == 1


def test_nothing_is_lost_or_counted_twice_while_threads_note_and_others_add_up(job):
    counters, shop, read = job

    def note():
        for _ in range(2_000):
            shop.began(0.01)
            shop.left()
            shop.ended(Outcome("succeeded"), took=0.01, total=0.02)
            counters.add_up_now_and_then()

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counters.add_up()

    assert read("jobs_finished_total", outcome="succeeded") == 8_000
    assert read("job_wait_seconds_count") == 8_000
    assert read("jobs_running") == 0


def test_many_observations_at_once_are_the_same_as_one_by_one():
    amounts = [0, 0.005, 0.0051, 1, 2.5, 3600, 4000]
    made = [Histogram("h", "…", buckets=(0.005, 1, 2.5, 3600), registry=CollectorRegistry()) for _ in range(2)]
    for amount in amounts:
        made[0].observe(amount)
    made[1].observe_many(amounts)

    one, other = (
        {(each.name, *each.labels.values()): each.value for each in histogram.collect()[0].samples}
        for histogram in made
    )
    assert one | {("h_created",): 0} == other | {("h_created",): 0}
