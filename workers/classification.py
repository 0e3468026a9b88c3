"""Classification says what follows from an error, in one place: again, later, put back, or dead for which reason."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from dramatiq import Retry
from dramatiq.middleware import Shutdown, TimeLimitExceeded

from workers.delivery import Outcome, Reason
from workers.errors import (
    ClaimLost,
    ContractError,
    Crashed,
    Deferred,
    Expired,
    KeyConflict,
    PermanentFailure,
    RetryLater,
    StoreUnavailable,
)

_STORE_PAUSE: Final = timedelta(seconds=5)
_NO_PAUSE: Final = timedelta(0)
_MOST_DOUBLINGS: Final = 30


@dataclass(frozen=True)
class Backoff:
    """How often and how late a transient failure is tried again, where its actor says nothing.

    Attributes:
      max_retries: tries after the first.
      shortest: the first delay is at most twice this.
      longest: no delay is longer.
    """

    max_retries: int
    shortest: timedelta
    longest: timedelta


def classify(
    error: BaseException, *, used: int, declared: Mapping[str, Any], sent: Mapping[str, Any], backoff: Backoff
) -> Outcome:
    """What follows from an error.

    Parameters:
      error: what the attempt, or what stands before it, has raised.
      used: retries that are spent.
      declared: the actor's options. Only here are exceptions and functions: `throws` (permanent) and `retry_when`.
      sent: the message's options; a number there wins over the actor's.
      backoff: for an actor that says nothing.
    """
    known = _known(error)
    if known is not None:
        return known
    throws = declared.get("throws")
    if throws and isinstance(error, throws):
        return Outcome("dead", reason="permanent", error=error)
    options = {**declared, **{name: value for name, value in sent.items() if value is not None}}
    retry_when = declared.get("retry_when")
    if retry_when(used, error) if retry_when else used < options.get("max_retries", backoff.max_retries):
        return Outcome("retried", delay=_delay(error, used, options, backoff), error=error)
    return Outcome("dead", reason=_spent(error), error=error)


def _spent(error: BaseException) -> Reason:
    """Of what a job has died that can't be tried again."""
    if isinstance(error, TimeLimitExceeded):
        return "time_limit"
    return "crashed" if isinstance(error, Crashed) else "retries_exhausted"


def _known(error: BaseException) -> Outcome | None:
    """What an error of ours says by its class; None: it is the job's own, and transient unless its actor says else."""
    match error:
        case Deferred():
            outcome = Outcome("deferred", reason=error.why, delay=error.delay, error=error)
        case StoreUnavailable():
            outcome = Outcome("deferred", reason="store_unavailable", delay=_STORE_PAUSE, error=error)
        case Shutdown():
            outcome = Outcome("interrupted", reason="shutdown", delay=_NO_PAUSE, error=error)
        case ClaimLost():
            outcome = Outcome("superseded", reason="claim_lost", error=error)
        case KeyConflict():
            outcome = Outcome("dead", reason="key_conflict", error=error)
        case ContractError():
            outcome = Outcome("dead", reason="contract", error=error)
        case Crashed(is_final=True):
            outcome = Outcome("dead", reason="crashed", error=error)
        case Expired():
            outcome = Outcome("dead", reason="expired", error=error)
        case PermanentFailure():
            outcome = Outcome("dead", reason="permanent", error=error)
        case _:
            return None
    return outcome


def _delay(error: BaseException, used: int, options: Mapping[str, Any], backoff: Backoff) -> timedelta:
    """The delay that the job asks for, or exponential backoff with full jitter."""
    if isinstance(error, RetryLater):
        return error.delay
    if isinstance(error, Retry) and error.delay is not None:
        return timedelta(milliseconds=error.delay)
    shortest = options.get("min_backoff", backoff.shortest / timedelta(milliseconds=1))
    longest = options.get("max_backoff", backoff.longest / timedelta(milliseconds=1))
    ceiling = min(longest, shortest * 2 ** min(used + 1, _MOST_DOUBLINGS))
    return timedelta(milliseconds=random.uniform(0, ceiling))  # noqa: S311  jitter is no secret
