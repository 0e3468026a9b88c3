"""The intake settles exactly what was settled, and hands out only what a thread is idle for."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.transport.intake import Intake
from workers.transport.subscription import Depth


class Channel:
    """RabbitMQ's side of a channel: what is unacknowledged, and what became of it."""

    def __init__(self, count):
        self.open = set(range(1, count + 1))
        self.frames = 0

    def basic_ack(self, tag, multiple=False):
        self.frames += 1
        acknowledged = {each for each in self.open if each <= tag} if multiple else {tag} & self.open
        assert acknowledged, "a tag that RabbitMQ doesn't know closes the channel"
        self.open -= acknowledged


@pytest.fixture
def intake():
    """An intake that was never started: what its own thread would do is called here."""
    intake = Intake([], name="tests", threads=2)
    yield intake
    intake.close()


def receive(intake, count, queue="shop", is_urgent=lambda _: False, *, short=False):
    """A subscription to which so many messages have been delivered."""
    subscription = intake.subscribe(queue, short=short, is_urgent=is_urgent)
    channel = Channel(count)
    stream_of(intake, subscription, channel)
    for tag in range(1, count + 1):
        deliver(intake, subscription, tag)
    return subscription, channel


def stream_of(intake, subscription, channel):
    quiet = {"add_on_close_callback", "add_on_cancel_callback", "basic_qos", "basic_consume"}
    for name in quiet:
        setattr(channel, name, lambda *_, **__: None)
    intake._channel_opened(subscription, channel)


def deliver(intake, subscription, tag, properties=None):
    method = SimpleNamespace(delivery_tag=tag, redelivered=False)
    intake._arrived(subscription, subscription.stream, None, method, properties, b"")


@given(st.permutations(range(12)), st.lists(st.integers(1, 4), min_size=12, max_size=12))
def test_each_settled_message_is_acknowledged_and_no_other(order, batches):
    intake = Intake([], name="tests", threads=12)
    intake._started = True
    subscription, channel = receive(intake, 12)
    arrivals = subscription.take(0)
    settled = set()

    for size in batches:
        batch, order = order[:size], order[size:]
        for each in batch:
            intake.settle(arrivals[each], accepted=True)
            settled.add(arrivals[each].tag)
        intake._flush()
        assert channel.open == set(range(1, 13)) - settled

    intake.close()


def test_what_was_done_in_order_costs_one_frame():
    intake = Intake([], name="tests", threads=8)
    intake._started = True
    subscription, channel = receive(intake, 8)
    for arrival in subscription.take(0):
        intake.settle(arrival, accepted=True)

    intake._flush()

    assert (channel.open, channel.frames) == (set(), 1)
    intake.close()


def test_no_more_is_handed_out_than_threads_are_idle(intake):
    intake._started = True
    subscription, _ = receive(intake, 5)

    handed = subscription.take(0)

    assert len(handed) == 2
    assert subscription.take(0) == []
    intake.settle(handed[0], accepted=True)
    assert len(subscription.take(0)) == 1


def test_queues_share_the_idle_threads(intake):
    intake._started = True
    first, _ = receive(intake, 2, "first")
    second, _ = receive(intake, 2, "second")

    handed = first.take(0)

    assert second.take(0) == [], "no thread is idle"
    intake.settle(handed[0], accepted=True)
    assert len(second.take(0)) == 1


def test_short_jobs_are_handed_out_many_at_a_time_whatever_else_runs(intake):
    intake._started = True
    long, _ = receive(intake, 5, "long")
    short, _ = receive(intake, 200, "short", short=True)
    long.take(0)

    handed = short.take(0)

    assert len(handed) == short.depth.handed_out
    for arrival in handed[:-33]:
        intake.settle(arrival, accepted=True)
    intake._flush()
    assert short.take(0) == [], "each switch of threads must be worth it"
    intake.settle(handed[-1], accepted=True)
    intake.settle(handed[-2], accepted=True)
    intake._flush()
    assert len(short.take(0)) == short.depth.handed_out - 31


def test_a_queue_of_short_jobs_is_fetched_deep_and_any_other_not_beyond_its_threads():
    assert Depth.of(8, short=True).fetched == 512
    assert Depth.of(8, short=False).fetched == 8


def test_what_is_urgent_waits_for_no_thread(intake):
    intake._started = True
    subscription, _ = receive(intake, 3, is_urgent=lambda properties: properties == "worn")
    assert [each.tag for each in subscription.take(0)] == [1, 2]

    deliver(intake, subscription, 4, "worn")

    (urgent,) = subscription.take(0)
    assert urgent.tag == 4
    intake.settle(urgent, accepted=True)
    assert subscription.take(0) == [], "no thread has become idle by that"


def test_settling_on_a_channel_that_is_gone_does_nothing_and_is_counted(intake):
    intake._started = True
    subscription, channel = receive(intake, 3)
    arrival, *_ = subscription.take(0)
    intake._lost(OSError("cut"))

    intake.settle(arrival, accepted=True)
    intake._flush()

    assert channel.open == {1, 2, 3}
    assert intake.stale_settlements == 1
    assert subscription.take(0) == [], "what the dead channel had delivered comes again on the next one"


def test_a_queue_has_one_channel_although_the_connection_opens_while_it_is_subscribed(intake):
    intake._started = True
    opened = []
    connection = SimpleNamespace(is_open=True, channel=lambda **options: opened.append(options))
    subscription = intake.subscribe("shop")

    intake._opened(connection)  # which opens a channel for all that are subscribed
    intake._open_channel(subscription)  # and then comes what subscribing had asked for

    assert len(opened) == 1


def test_once_stopped_nothing_is_handed_out_although_a_thread_becomes_idle(intake):
    intake._started = True
    subscription, _ = receive(intake, 3)
    handed = subscription.take(0)

    intake.stop()
    intake.settle(handed[0], accepted=True)

    assert subscription.take(0) == []
