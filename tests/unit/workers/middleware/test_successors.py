"""What follows from a job, where that can't be made."""

import pytest

from workers import actor, current_job
from workers.broker import setup_broker

CARD = {"owner": "tests", "expects": "a line in a list", "rollback": "none"}
setup_broker()
ran = []


@actor(**CARD, actor_name="successors.gives")
def gives() -> object:
    ran.append("gives")
    return {1, 2}


@actor(**CARD, actor_name="successors.gives_keyless", key=None)
def gives_keyless() -> object:
    return {1, 2}


@actor(**CARD, actor_name="successors.commits")
def commits() -> object:
    with current_job().transaction():
        current_job().returns({1, 2})
    return {1, 2}


@actor(**CARD, actor_name="successors.takes")
def takes(values: object) -> None:
    ran.append(values)


@pytest.mark.parametrize("first", [gives, gives_keyless, commits], ids=lambda each: each.actor_name)
def test_a_result_that_json_can_t_hold_is_a_permanent_failure_where_it_goes_further(jobs, first):
    (first.message() | takes.message()).run()
    jobs.run()

    assert jobs.outcomes == [(first.actor_name, "dead")]
    (dead,) = jobs.dead_letters
    assert dead["dutiful-reason"] == "permanent"
    assert "what JSON can hold" in dead["dutiful-exception-message"]


def test_where_it_goes_nowhere_it_is_of_no_account(jobs):
    gives.send()
    jobs.run()

    assert jobs.outcomes == [("successors.gives", "succeeded")]


@pytest.mark.parametrize(
    "options",
    [
        {"pipe_target": "takes"},
        {"pipe_target": {"queue_name": 5}},
        {"pipe_target": {**takes.message(1).asdict(), "queue_name": 5, "message_id": "1", "message_timestamp": 1}},
        {"on_success": "successors.nobody"},
        {"on_success": ["successors.takes"]},
    ],
    ids=str,
)
def test_a_broken_word_about_what_follows_is_a_contract_dead_letter_before_anything_runs(jobs, options):
    ran.clear()
    jobs.broker.enqueue(gives.message().copy(options=options))
    jobs.run()

    assert jobs.outcomes == [("successors.gives", "dead")]
    assert jobs.dead_letters[0]["dutiful-reason"] == "contract"
    assert ran == []
