"""A rollout has two versions of the code at work: what only the newer one can run waits until that is there."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from workers.clock import utcnow

_PATIENCE: Final = timedelta(minutes=10)
_LONGEST_STEP_SECONDS: Final = 60


def next_look(options: Mapping[str, Any]) -> timedelta | None:
    """How long a message is put back, steps of 1, 2, 4 … 60 s; None: it has waited ten minutes, which is no rollout.

    Parameters:
      options: the message's.
    """
    first = options.get("first_deferred_at")
    waited = utcnow().timestamp() - first / 1000 if first else 0
    if waited > _PATIENCE.total_seconds():
        return None
    return timedelta(seconds=min(2 ** options.get("deferrals", 0), _LONGEST_STEP_SECONDS))
