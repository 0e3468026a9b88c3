"""The four answers follow from the facts, and say where there are none."""

import dataclasses

import pytest

from deploy.prometheus.thresholds import Thresholds
from workers import situation
from workers.queues import Holding
from workers.situation import Facts, Served, answers, numbers, unknown
from workers.store.recent import Recent

QUEUE = Holding("shop", ready=3, dead=0, consumers=2)
RECENT = Recent(ended=100, dead=0, ended_lately=10, dead_lately=0, oldest_tick_seconds=0.0, processes=2)
SERVED = Served(reasons=[], oldest={"shop": 4.0}, versions=["1.0 abc"])
FINE = Facts([QUEUE], RECENT, SERVED)


def changed(**facts):
    return dataclasses.replace(FINE, **facts)


def queue(**fields):
    return changed(queues=[dataclasses.replace(QUEUE, **fields)])


def store(**fields):
    return changed(recent=dataclasses.replace(RECENT, **fields))


def served(**fields):
    return changed(workers=dataclasses.replace(SERVED, **fields))


def verdicts(facts):
    return [answer.verdict for answer in answers(facts)]


def test_where_all_is_well_all_four_answers_are_fine():
    assert verdicts(FINE) == ["fine"] * 4
    assert [answer.says[-1] for answer in answers(FINE)] == [
        "2 worker processes hold a lease",
        "waiting: 3 in shop",
        "0 dead letters wait for a person",
        "running here: 1.0 abc",
    ]


@pytest.mark.parametrize(
    ("facts", "expected", "said"),
    [
        (changed(queues="no answer"), ["down", "unknown", "fine", "fine"], "RabbitMQ: no answer"),
        (changed(recent="no answer"), ["down", "fine", "unknown", "unknown"], "the store: no answer"),
        (queue(consumers=0), ["down", "fine", "fine", "fine"], "no worker reads shop"),
        (queue(missing=True), ["degraded", "fine", "fine", "fine"], "missing, or without its dead queue: shop"),
        (served(reasons=["silent"]), ["degraded", "fine", "fine", "fine"], "silent"),
        (served(oldest={"shop": 400.0}), ["fine", "degraded", "fine", "fine"], "may have waited for 400 s"),
        (store(oldest_tick_seconds=130.0), ["fine", "degraded", "fine", "fine"], "a tick that is due has waited"),
        (store(dead=2), ["fine", "fine", "degraded", "fine"], "2 of 100 jobs died in the last hour (2.0%)"),
        (store(dead_lately=1, dead=1), ["fine", "fine", "fine", "degraded"], "10.0% died in ten minutes, 0.0%"),
        (served(versions=["1", "2"]), ["fine", "fine", "fine", "degraded"], "running here: 1, 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_where_it_belongs(facts, expected, said):
    assert verdicts(facts) == expected
    assert any(said in line for answer in answers(facts) for line in answer.says)


def test_one_queue_without_a_reader_among_others_is_not_down():
    facts = changed(queues=[QUEUE, Holding("other", ready=0, dead=0, consumers=0)])

    assert verdicts(facts)[0] == "degraded"


def test_what_can_not_be_known_is_said():
    assert any("other hosts" in line for line in unknown(FINE))
    assert unknown(changed(workers="refused"))[0] == "how the workers are: refused"


def test_numbers_can_be_compared_and_leave_out_what_is_not_known():
    assert numbers(FINE)["shop ready"] == 3
    assert numbers(changed(recent="no answer")) == {"shop ready": 3, "shop dead": 0, "shop consumers": 2}


def test_the_objectives_are_those_of_the_alerts():
    usual = Thresholds()

    assert usual.failed_share == situation.FAILED_SHARE
    assert usual.oldest_job == situation.OLDEST_JOB_SECONDS
    assert usual.schedule_late == situation.SCHEDULE_LATE_SECONDS
    assert (usual.deploy_factor, usual.deploy_more) == (situation.DEPLOY_FACTOR, situation.DEPLOY_MORE)
