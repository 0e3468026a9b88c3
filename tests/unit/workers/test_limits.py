"""How long an attempt may take."""

import math
from datetime import timedelta

import pytest

from workers import actor
from workers.broker import setup_broker
from workers.errors import ConfigurationError, ContractError
from workers.limits import Limits

CARD = {"owner": "tests", "expects": "nothing", "rollback": "none"}
setup_broker()


@actor(**CARD, actor_name="limits.bounded", time_limit=timedelta(seconds=5), hard_time_limit=9000)
def bounded() -> None:
    pass


def test_a_soft_limit_that_is_not_below_the_hard_one_is_refused():
    with pytest.raises(ConfigurationError, match="not below hard_time_limit"):
        actor(**CARD, actor_name="limits.late", time_limit=timedelta(minutes=15))(lambda: None)


def test_a_hard_limit_that_reaches_rabbitmq_s_own_is_refused():
    limit = timedelta(minutes=30) - Limits.grace

    with pytest.raises(ConfigurationError, match="CONSUMER_TIMEOUT_SECONDS"):
        actor(**CARD, actor_name="limits.long", hard_time_limit=limit)(lambda: None)


def test_a_hard_limit_under_a_second_is_taken_for_a_slip():
    with pytest.raises(ConfigurationError, match=r"did you mean timedelta\(seconds=30\)"):
        actor(**CARD, actor_name="limits.hasty", hard_time_limit=30)(lambda: None)


@pytest.mark.parametrize("option", ["time_limit", "hard_time_limit"])
def test_a_message_may_not_ask_for_more_than_its_actor_s_hard_limit(option):
    assert bounded.message_with_options(**{option: timedelta(seconds=9)}).options[option] == 9000

    with pytest.raises(ContractError, match=f"{option} above"):
        bounded.message_with_options(**{option: timedelta(seconds=10)})


@pytest.mark.parametrize(
    ("sent", "limits"),
    [
        ({}, (5, 9)),
        ({"time_limit": 2000}, (2, 9)),
        ({"hard_time_limit": 3000}, (3, 3)),
        ({"time_limit": 60_000, "hard_time_limit": 60_000}, (9, 9)),
    ],
)
def test_a_message_from_elsewhere_gets_no_more_than_that(sent, limits):
    assert Limits().of(bounded.options, sent) == limits


def test_dramatiq_s_endless_limit_has_a_hard_one_all_the_same():
    assert Limits().of({"time_limit": math.inf}, {}) == (math.inf, 900)
