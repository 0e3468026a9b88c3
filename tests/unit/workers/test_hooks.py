"""Hooks fail closed: whichever hook of whichever middleware raises, nothing is lost and nothing runs unprotected."""

import threading
from datetime import timedelta

import pytest
from dramatiq.middleware import SkipMessage

from workers import actor
from workers.broker import build_middleware, setup_broker
from workers.delivery import Delivery
from workers.settings import Settings
from workers.store import keys
from workers.transport.arrival import Arrival, Stream

CARD = {"owner": "tests", "expects": "nothing", "rollback": "none"}
BROKER = setup_broker()
CHAIN = [type(each).__name__ for each in build_middleware(Settings.load(), BROKER.store)]
ran = []
leased = []


@actor(**CARD, actor_name="watched")
def watched() -> None:
    ran.append(1)


@pytest.fixture
def broken(monkeypatch):
    """A function that makes one hook of one middleware raise."""

    def break_it(name, hook):
        middleware = named(name)

        def fail(*_, **__):
            raise RuntimeError(f"{name}.{hook}")

        monkeypatch.setattr(middleware, hook, fail, raising=False)
        BROKER._found.clear()

    ran.clear()
    yield break_it
    BROKER._found.clear()


@pytest.fixture(autouse=True)
def _no_lease_is_left():
    yield
    while leased:
        leased.pop().claims.stop()


def named(name):
    return next(each for each in BROKER.middleware if type(each).__name__ == name)


def test_the_order_is_one_list():
    assert [type(each).__name__ for each in BROKER.middleware] == CHAIN


@pytest.mark.parametrize("name", CHAIN)
def test_an_error_before_the_job_puts_it_back_and_runs_nothing(jobs, broken, name):
    broken(name, "before_process_message")
    watched.send()

    jobs.run()

    assert ran == []
    assert len(jobs.broker.delayed) == 1, "put back once, for later"
    message = jobs.broker.delayed[0][2]
    assert message.options.get("attempt", 1) == 1, "no attempt is spent"
    assert jobs.dead_letters == []


@pytest.mark.parametrize("name", CHAIN)
def test_an_error_after_the_job_leaves_it_unsettled(jobs, broken, name):
    broken(name, "after_process_message")
    delivery = delivered(jobs)

    BROKER.emit_after("process_message", delivery, result=None)

    assert not delivery.settled


@pytest.mark.parametrize("name", CHAIN)
def test_an_error_after_a_skip_leaves_it_unsettled(jobs, broken, name):
    broken(name, "after_skip_message")
    delivery = delivered(jobs)

    BROKER.emit_after("skip_message", delivery)

    assert not delivery.settled


@pytest.mark.parametrize("name", CHAIN)
def test_an_error_while_it_is_prepared_puts_it_back_and_runs_nothing(jobs, broken, name):
    broken(name, "prepare")
    watched.send()

    jobs.run()

    assert ran == []
    assert len(jobs.broker.delayed) == 1, "put back once, for later"
    assert jobs.broker.delayed[0][2].options.get("attempt", 1) == 1, "no attempt is spent"


@pytest.mark.parametrize("name", CHAIN)
def test_an_error_once_it_has_ended_leaves_it_unsettled(jobs, broken, name):
    broken(name, "ended")
    delivery = delivered(jobs)
    BROKER.emit_after("process_message", delivery, result=None)

    settled = conclude(delivery)

    assert not settled


def test_without_an_error_it_is_settled(jobs):
    delivery = delivered(jobs)

    BROKER.emit_after("process_message", delivery, result=None)

    assert conclude(delivery)


def test_what_no_hook_has_seen_goes_back_as_it_came(jobs, monkeypatch):
    delivery = delivered(jobs, begin=False)
    monkeypatch.setattr(BROKER, "is_stopping", True)

    with pytest.raises(SkipMessage):
        BROKER.emit_before("process_message", delivery)
    BROKER.emit_after("skip_message", delivery)

    assert not conclude(delivery)
    assert delivery.outcome is None
    with jobs.store.begin() as connection:
        assert keys.find(connection, "watched", delivery.message_id).state == "waiting", "anybody may claim it"


def test_an_interrupt_during_the_after_hooks_runs_them_no_second_time(jobs):
    delivery = delivered(jobs)
    BROKER.emit_after("process_message", delivery, result=None)

    BROKER.emit_after("process_message", delivery, exception=KeyboardInterrupt())

    assert not delivery.settled
    assert delivery.outcome.verdict == "succeeded"
    assert jobs.broker.delayed == []


def test_a_delivery_of_a_channel_that_is_gone_does_not_run(jobs):
    stream = Stream(channel=None, subscription=None)
    stream.is_gone = True
    arrival = Arrival(stream, tag=1, redelivered=False, properties=None, body=b"")

    with pytest.raises(SkipMessage):
        BROKER.emit_before("process_message", Delivery(watched.message(), arrival=arrival))


def test_a_message_that_names_another_queue_is_a_dead_letter_and_hurts_nobody(jobs):
    stray = watched.message()._replace(queue_name="elsewhere")
    jobs.broker.queues["default"].put(stray.encode())
    watched.send()

    jobs.run()

    assert ran == [1]
    (letter,) = jobs.dead_letters
    assert (letter["dutiful-reason"], letter["message"].queue_name) == ("contract", "default")


def test_an_unknown_actor_is_put_back_for_ten_minutes_and_then_dead(jobs):
    jobs.broker.queues["default"].put(watched.message()._replace(actor_name="from the next release").encode())
    for _ in range(40):
        jobs.run()
        if jobs.dead_letters:
            break
        jobs.clock.advance(timedelta(seconds=61))

    (letter,) = jobs.dead_letters
    assert letter["dutiful-reason"] == "unknown_actor"
    assert letter["message"].options["deferrals"] >= 10


class Consumer:
    """What became of a delivery."""

    def __init__(self):
        self.settled = threading.Event()

    def settle(self, _):
        self.settled.set()


def delivered(jobs, *, begin=True):
    """A delivery that every before-hook has seen."""
    jobs.run()  # boots a worker; the lease that it gives up with its end is taken anew
    leased.append(named("Idempotency"))
    leased[0].before_worker_boot(BROKER, None)
    delivery = Delivery(watched.message(), consumer=Consumer())
    BROKER.prepare([delivery])
    if begin:
        BROKER.emit_before("process_message", delivery)
    return delivery


def conclude(delivery):
    """Whether it was acknowledged in the end."""
    BROKER.conclude(delivery)
    assert delivery.consumer.settled.wait(5)
    return delivery.settled
