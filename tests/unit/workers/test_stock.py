"""Stock Dramatiq's messages in our words."""

import json
from datetime import UTC, datetime

import pytest
from dramatiq import Message
from hypothesis import given
from hypothesis import strategies as st

from workers import envelope
from workers.errors import ContractError
from workers.stock import translate

DIED = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def stock(queue="mail.DQ", **options):
    return Message(queue, "send", (1,), {"to": "x"}, options, "id-1", 1_760_000_000_000).encode()


def test_a_delayed_job_keeps_its_id_arguments_and_due_time_and_loses_the_name_of_the_delay_queue():
    found = translate(stock(eta=1_760_000_060_000), {}, queue="mail", dead=False)

    assert found.due == 1_760_000_060_000
    assert found.dead is None
    assert found.message == Message("mail", "send", (1,), {"to": "x"}, {}, "id-1", 1_760_000_000_000)


@given(st.integers(1, 100))
def test_retries_become_the_number_of_the_next_attempt(retries):
    found = translate(stock(retries=retries), {}, queue="mail", dead=False)

    assert found.message.options == {"attempt": retries + 1}
    assert envelope.properties(found.message).headers == {"dutiful-attempt": retries + 1}


def test_what_a_job_was_told_by_its_sender_stays_and_what_stock_noted_for_itself_goes():
    told = {"max_retries": 3, "time_limit": 5000, "pipe_target": {"actor_name": "next"}}

    found = translate(stock(**told, eta=1, retries=0, traceback="x", requeue_timestamp=2), {}, queue="mail", dead=False)

    assert found.message.options == told


@pytest.mark.parametrize("eta", [None, "soon", True, [1]])
def test_an_eta_that_is_no_time_means_now(eta):
    assert translate(stock(eta=eta), {}, queue="mail", dead=False).due == 0


def test_a_dead_letter_says_what_its_traceback_says_and_when_it_died():
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1, in send\nshop.errors.Closed: it is: Sunday\n'

    found = translate(stock("mail", retries=3, traceback=trace), {"x-death": [{"time": DIED}]}, queue="mail", dead=True)

    assert found.dead["dutiful-reason"] == "retries_exhausted"
    assert found.dead["dutiful-attempts"] == 4
    assert found.dead["dutiful-exception-type"] == "Closed"
    assert found.dead["dutiful-exception-message"] == "it is: Sunday"
    assert found.dead["dutiful-traceback"] == trace
    assert found.dead["dutiful-last-failed-at"] == "2026-11-22T03:00:00.000+00:00"
    assert "traceback" not in found.message.options


def test_a_dead_letter_that_was_never_tried_again_says_that_the_reason_is_elsewhere():
    found = translate(stock("mail"), {"x-death": "odd"}, queue="mail", dead=True)

    assert found.dead["dutiful-reason"] == "permanent"
    assert "log" in found.dead["dutiful-exception-message"]


@pytest.mark.parametrize("body", [b"\x80\x04pickle", b"[]", json.dumps({"queue_name": "mail"}).encode()])
def test_what_is_no_message_is_refused(body):
    with pytest.raises(ContractError):
        translate(body, {}, queue="mail", dead=False)
