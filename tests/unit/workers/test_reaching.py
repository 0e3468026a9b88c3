"""Reaching RabbitMQ says at once that nobody is there, and waits for who is silent."""

import time

import pytest

from workers.errors import BrokerUnreachable
from workers.rabbitmq import DutifulBroker
from workers.reaching import reach
from workers.transport.refusal import unreachable


@pytest.fixture
def refusal(caplog):
    """The refusal of these hosts, and how long it took."""
    brokers = []

    def refusal(*hosts, seconds, **options):
        url = ";".join(f"amqp://u:p@{host}/v" for host in hosts)
        brokers.append(DutifulBroker(url=url, middleware=[], **options))
        began = time.monotonic()
        with pytest.raises(BrokerUnreachable) as raised:
            reach(brokers[-1], seconds)
        return raised.value, time.monotonic() - began

    yield refusal
    for each in brokers:
        began = time.monotonic()
        each.close()
        assert time.monotonic() - began < 4, "a link that shakes hands with who is silent ends as well"
    assert [each.message for each in caplog.records if each.name.startswith("workers.")] == []


def test_who_refuses_is_not_waited_for(refusal, closed):
    error, seconds = refusal(closed, closed, seconds=30)

    assert seconds < 10
    assert error.what == "RabbitMQ can't be reached"
    assert error.expected == "a broker at DUTIFUL_RABBITMQ__URL"
    assert "Connection refused" in error.received


def test_who_is_silent_is_waited_for_until_the_deadline(refusal, closed, frozen):
    error, seconds = refusal(frozen, closed, seconds=1)

    assert 1 <= seconds < 10
    assert error.received.startswith("no answer in 1 s; the connection: ")


def test_a_try_to_connect_that_took_too_long_is_a_refusal(refusal, frozen):
    error, seconds = refusal(frozen, seconds=30, connect_timeout_seconds=1)

    assert 1 <= seconds < 10
    assert "Timeout" in error.received


def test_who_only_reads_is_not_told_that_nothing_was_sent():
    assert unreachable(None).what == "RabbitMQ can't be reached, so nothing was sent"
    assert unreachable(None).received == "no connection before the deadline"
    assert unreachable(OSError(111, "refused"), ending="").what == "RabbitMQ can't be reached"
    assert unreachable(OSError(111, "refused")).received == repr(OSError(111, "refused"))
    assert unreachable(TimeoutError("no answer in 6 s")).received == "no answer in 6 s"
    assert unreachable(TimeoutError()).received == "TimeoutError()"
