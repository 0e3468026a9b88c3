"""The intake settles exactly what was settled, and hands out only what a thread is idle for."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.transport.intake import Intake


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


def receive(intake, count, queue="shop", is_urgent=lambda _: False):
    """A subscription to which so many messages have been delivered."""
    subscription = intake.subscribe(queue, 100, is_urgent)
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
    arrivals = [subscription.take(0) for _ in range(12)]
    settled = set()

    for size in batches:
        batch, order = order[:size], order[size:]
        for each in batch:
            intake.settle(arrivals[each], accepted=True)
            settled.add(arrivals[each].tag)
        intake._flush()
        assert channel.open == set(range(1, 13)) - settled

    intake.close()


def test_what_was_done_in_order_costs_one_frame(intake):
    intake._started = True
    intake.free = 8
    subscription, channel = receive(intake, 8)
    for arrival in [subscription.take(0) for _ in range(8)]:
        intake.settle(arrival, accepted=True)

    intake._flush()

    assert (channel.open, channel.frames) == (set(), 1)


def test_no_more_is_handed_out_than_threads_are_idle(intake):
    intake._started = True
    subscription, _ = receive(intake, 5)

    handed = [subscription.take(0) for _ in range(3)]

    assert [each is not None for each in handed] == [True, True, False]
    intake.settle(handed[0], accepted=True)
    assert subscription.take(0) is not None


def test_what_is_urgent_waits_for_no_thread(intake):
    intake._started = True
    subscription, _ = receive(intake, 3, is_urgent=lambda properties: properties == "worn")
    assert [subscription.take(0).tag for _ in range(2)] == [1, 2]

    deliver(intake, subscription, 4, "worn")

    urgent = subscription.take(0)
    assert urgent.tag == 4
    intake.settle(urgent, accepted=True)
    assert subscription.take(0) is None, "no thread has become idle by that"


def test_settling_on_a_channel_that_is_gone_does_nothing_and_is_counted(intake):
    intake._started = True
    subscription, channel = receive(intake, 3)
    arrival = subscription.take(0)
    intake._lost(OSError("cut"))

    intake.settle(arrival, accepted=True)
    intake._flush()

    assert channel.open == {1, 2, 3}
    assert intake.stale_settlements == 1
    assert subscription.take(0) is None, "what the dead channel had delivered comes again on the next one"


def test_a_queue_has_one_channel_although_the_connection_opens_while_it_is_subscribed(intake):
    intake._started = True
    opened = []
    connection = SimpleNamespace(is_open=True, channel=lambda **options: opened.append(options))
    subscription = intake.subscribe("shop", 2)

    intake._opened(connection)  # which opens a channel for all that are subscribed
    intake._open_channel(subscription)  # and then comes what subscribing had asked for

    assert len(opened) == 1


def test_once_stopped_nothing_is_handed_out_although_a_thread_becomes_idle(intake):
    intake._started = True
    subscription, _ = receive(intake, 3)
    handed = subscription.take(0)

    intake.stop()
    intake.settle(handed, accepted=True)

    assert subscription.take(0) is None
