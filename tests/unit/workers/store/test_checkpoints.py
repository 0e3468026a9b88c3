"""Checkpoints: kept by the claim that runs the job, and by no other."""

import pytest

from workers.errors import ClaimLost, PermanentFailure
from workers.store import checkpoints, keys
from workers.store.engine import begin

JOB = {"actor": "a", "key": "k"}


def claim_key(engine, holder):
    asked = keys.Request(**JOB, message_id="m", arguments_hash="x", attempt=1, generation=0)
    with begin(engine) as connection:
        return keys.claim(connection, asked, holder=holder)


def save_checkpoint(engine, text, holder="h", fence=1):
    with begin(engine) as connection:
        checkpoints.save(connection, **JOB, holder=holder, fence=fence, checkpoint=text)


def kept_checkpoint(engine):
    with begin(engine) as connection:
        return keys.find(connection, **JOB).checkpoint


def test_the_next_claim_finds_the_last_checkpoint(engine):
    claim_key(engine, "h")
    save_checkpoint(engine, "1")
    save_checkpoint(engine, "2")
    assert claim_key(engine, "other").recorded.checkpoint == "2"


def test_who_was_taken_over_keeps_no_checkpoint(engine):
    claim_key(engine, "h")
    assert claim_key(engine, "other").fence == 2
    with pytest.raises(ClaimLost):
        save_checkpoint(engine, "mine")
    assert kept_checkpoint(engine) is None


def test_a_checkpoint_without_the_row_of_its_claim_makes_it(engine):
    save_checkpoint(engine, "1")
    assert kept_checkpoint(engine) == "1"
    with begin(engine) as connection:
        keys.end(connection, keys.Ending(**JOB, holder="h", fence=1, state="done"))


def test_a_job_that_is_done_needs_no_checkpoint(engine):
    claim_key(engine, "h")
    save_checkpoint(engine, "1")
    with begin(engine) as connection:
        keys.end(connection, keys.Ending(**JOB, holder="h", fence=1, state="done"))
    assert kept_checkpoint(engine) is None
    with pytest.raises(ClaimLost):
        save_checkpoint(engine, "late")


@pytest.mark.parametrize("unfit", [{1, 2}, object(), float("nan"), "x" * 65_535, {"é" * 20_000: 1}])
def test_a_checkpoint_that_is_too_large_or_no_json_is_refused(unfit):
    with pytest.raises(PermanentFailure, match="the job can't keep its checkpoint"):
        checkpoints.written(unfit, "the job")
