"""Limits say how long an attempt may take: what its actor states, what the settings say, and what RabbitMQ bears."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Final

from dramatiq.middleware import TimeLimitExceeded

from workers.errors import ConfigurationError, ContractError

SOFT: Final = "time_limit"
HARD: Final = "hard_time_limit"
_MILLISECOND: Final = timedelta(milliseconds=1)


class HardTimeLimitExceeded(TimeLimitExceeded):
    """The attempt did not end at its soft limit, nor at its hard one: it was given up."""


@dataclass(frozen=True)
class Limits:
    """How long an attempt may take where its actor says nothing, and how long any may.

    Attributes:
      soft: when an exception is raised in the job.
      hard: when it is given up, wherever it is.
      grace: how long a job may still run in a worker that stops.
      consumer_timeout: when RabbitMQ gives an unsettled message to somebody else.
    """

    soft: timedelta = timedelta(minutes=10)
    hard: timedelta = timedelta(minutes=15)
    grace: timedelta = timedelta(seconds=20)
    consumer_timeout: timedelta = timedelta(minutes=30)

    def refuse(self, actor_name: str, declared: Mapping[str, Any]) -> None:
        """Look at what an actor states, in milliseconds.

        Raises:
          ConfigurationError: its limits can't hold.
        """
        soft, hard = declared.get(SOFT), self.hardest(declared)
        if soft is not None and timedelta(milliseconds=soft) >= hard:
            raise ConfigurationError(
                f"actor {actor_name} can't be declared: {SOFT} is not below {HARD}",
                expected=f"{SOFT} below {HARD}, which is {hard} where the actor states none",
                received=f"{timedelta(milliseconds=soft)}",
            )
        if hard + self.grace >= self.consumer_timeout:
            raise ConfigurationError(
                f"actor {actor_name} can't be declared: RabbitMQ would give its job to somebody else while it runs",
                expected=f"{HARD} and {self.grace} of grace below DUTIFUL_RABBITMQ__CONSUMER_TIMEOUT_SECONDS, "
                f"{self.consumer_timeout}; longer work goes on in another message, from a checkpoint",
                received=f"{HARD} {hard}",
            )

    def refuse_message(self, actor_name: str, declared: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
        """Look at what a sender wants for one message, in milliseconds.

        Raises:
          ContractError: it is more than the actor's hard limit.
        """
        hard = self.hardest(declared)
        for name in (SOFT, HARD):
            if sent.get(name) is not None and timedelta(milliseconds=sent[name]) > hard:
                raise ContractError(
                    f"a message for {actor_name} has a {name} above its actor's {HARD}",
                    expected=f"{hard} at most",
                    received=f"{timedelta(milliseconds=sent[name])}",
                )

    def hardest(self, declared: Mapping[str, Any]) -> timedelta:
        """The actor's hard limit."""
        stated = declared.get(HARD)
        return self.hard if stated is None else timedelta(milliseconds=stated)

    @cached_property
    def _soft_ms(self) -> float:
        return self.soft / _MILLISECOND

    @cached_property
    def _hard_ms(self) -> float:
        return self.hard / _MILLISECOND

    def of(self, declared: Mapping[str, Any], sent: Mapping[str, Any]) -> tuple[float, float]:
        """The soft and the hard limit of one attempt, in seconds; a message never gets more than its actor.

        Dramatiq's word for no soft limit is infinity.
        """
        hard = declared.get(HARD)
        hard = self._hard_ms if hard is None else hard
        hard = min(hard, sent.get(HARD) or hard)
        soft = sent.get(SOFT) or declared.get(SOFT, self._soft_ms)
        return (soft if soft == math.inf else min(soft, hard)) / 1000, hard / 1000


def milliseconds(what: str, option: str, duration: timedelta | float) -> int:
    """A duration in Dramatiq's unit.

    Parameters:
      what: the beginning of the refusal.

    Raises:
      ConfigurationError: a limit under a second, which is taken for a slip.
    """
    given = int(duration / _MILLISECOND) if isinstance(duration, timedelta) else int(duration)
    if option in {SOFT, HARD} and given < 1000:  # noqa: PLR2004  a second, in Dramatiq's unit
        raise ConfigurationError(
            f"{what}: {option} is under one second",
            expected=f"a timedelta, or milliseconds: did you mean timedelta(seconds={duration})?",
            received=repr(duration),
        )
    return given
