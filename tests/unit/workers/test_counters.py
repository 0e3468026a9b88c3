import threading
import uuid

import dramatiq
import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from workers import counters as counting
from workers import metrics
from workers.counters import Counters
from workers.delivery import Delivery, Outcome
from workers.histogram import Histogram


@pytest.fixture
def job():
    """The counters of an actor that nobody else counts, and a way to read them."""
    counters, actor = Counters(), f"actor-{uuid.uuid4()}"

    def read(name, **labels):
        return REGISTRY.get_sample_value(f"dutiful_{name}", {"queue": "shop", "actor": actor, **labels})

    return counters, counters.of("shop", actor), read


def delivery(took=0.0, attempt=1, database_calls=0):
    """One that has run."""
    made = Delivery(dramatiq.Message("shop", "a", (), {}, {"attempt": attempt}))
    made.took, made.database_calls = took, database_calls
    return made


def value(metric, suffix, **labels):
    """A number of a metric, wherever it is registered."""
    samples = metric.collect()[0].samples
    return next(each.value for each in samples if each.name.endswith(suffix) and each.labels == labels)


def test_every_known_outcome_stands_at_0_from_the_start(job):
    _, _, read = job

    assert read("job_attempts_total", outcome="retried") == 0
    assert read("jobs_finished_total", outcome="dead") == 0
    assert read("jobs_deferred_total", why="store_unavailable") == 0
    assert read("jobs_dead_lettered_total", reason="time_limit") == 0
    assert read("jobs_dead_lettered_total", reason="unknown_actor") is None, "such a message never comes to an actor"
    assert read("job_wait_seconds_count") == 0


def test_what_is_noted_shows_once_it_is_added_up(job):
    counters, shop, read = job
    shop.began(0.02)
    shop.began(None)
    shop.left()
    shop.ended(delivery(took=0.2), Outcome("succeeded"), total=0.3)
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
    shop.ended(delivery(), Outcome("dead", reason="permanent", error=KeyError()), total=1)
    shop.ended(delivery(), Outcome("deferred", reason="still_running"), total=1)
    counters.add_up()

    assert read("jobs_dead_lettered_total", reason="permanent") == 1
    assert read("jobs_deferred_total", why="still_running") == 1
    assert read("job_attempts_total", outcome="failed") == 1
    assert read("jobs_finished_total", outcome="dead") == 1
    assert read("job_duration_seconds_count") == 1


def test_nothing_is_lost_or_counted_twice_while_threads_note_and_others_add_up(job):
    counters, shop, read = job
    attempt = delivery()

    def note():
        for _ in range(2_000):
            shop.began(0.01)
            shop.left()
            shop.ended(attempt, Outcome("succeeded"), total=0.02)
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


def test_attempts_and_database_calls_are_counted_once_the_job_or_the_attempt_has_ended(job):
    counters, shop, _ = job
    labels = {"queue": "shop", "actor": shop._actor}
    shop.ended(delivery(database_calls=3), Outcome("retried", error=KeyError()), total=1)
    shop.ended(delivery(attempt=2, database_calls=4), Outcome("succeeded"), total=2)
    shop.ended(delivery(attempt=9), Outcome("duplicate"), total=2)
    counters.add_up()

    assert value(metrics.attempts_needed, "_count", **labels) == 1
    assert value(metrics.attempts_needed, "_sum", **labels) == 2
    assert value(metrics.database_calls, "_count", actor=shop._actor) == 2
    assert value(metrics.database_calls, "_sum", actor=shop._actor) == 7


def test_how_long_the_store_took_shows_once_it_is_added_up(job):
    counters, _, _ = job
    before = value(metrics.store_seconds, "_count", operation="claim")
    metrics.store_seconds.labels("claim").note(0.01)
    metrics.store_seconds.labels("claim").note(0.02)
    counters.add_up()

    assert value(metrics.store_seconds, "_count", operation="claim") == before + 2


def test_names_from_outside_are_so_many_and_the_rest_is_counted_as_other(job, monkeypatch):
    monkeypatch.setattr(counting, "_MOST_ACTORS", 3)
    monkeypatch.setattr(counting, "_MOST_EXCEPTIONS", 2)
    overflows = {each: value(metrics.label_overflows.labels(each), "_total") for each in ("actor", "exception")}
    counters, prefix = Counters(), uuid.uuid4()
    known = [counters.of("shop", f"{prefix}-{number}") for number in range(6)]

    assert len({id(each) for each in known}) == 4
    assert counters.of("shop", f"{prefix}-0") is known[0]
    for number in range(5):
        known[0].ended(delivery(), Outcome("retried", error=type(f"E{number}", (Exception,), {})()), total=1)
    counters.add_up()
    raised = {
        each.labels["exception"]: each.value
        for each in metrics.job_exceptions.collect()[0].samples
        if each.labels["actor"] == f"{prefix}-0" and each.name.endswith("_total")
    }

    assert raised == {"E0": 1, "E1": 1, "_other": 3}
    assert value(metrics.label_overflows.labels("actor"), "_total") == overflows["actor"] + 3
    assert value(metrics.label_overflows.labels("exception"), "_total") == overflows["exception"] + 3
