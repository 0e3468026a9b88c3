"""A dead letter says why the job failed: the headers that the message gets on its way to the dead queue."""

import hashlib
import os
import socket
import traceback
from typing import Any, Final

from workers.clock import utcnow
from workers.delivery import Carried, Reason

_LONGEST_TEXT: Final = 4_000
_LONGEST_TRACEBACK: Final = 16_000
_FINGERPRINT_FRAMES: Final = 3


def headers(reason: Reason, error: BaseException | None, *, message: Carried | None = None) -> dict[str, Any]:
    """What a dead letter says of itself.

    Parameters:
      reason: one word; workers.delivery.Reason lists them.
      error: what was raised.
      message: the message, where it could be read.
    """
    now = utcnow().isoformat(timespec="milliseconds")
    said: dict[str, Any] = {
        "dutiful-reason": reason,
        "dutiful-attempts": int(message.options.get("attempt", 1)) if message is not None else 0,
        "dutiful-first-failed-at": (message.options.get("first_failed_at") if message is not None else None) or now,
        "dutiful-last-failed-at": now,
        "dutiful-worker": f"{socket.gethostname()}/{os.getpid()}",
        "dutiful-fingerprint": fingerprint(message.actor_name if message is not None else "", reason, error),
    }
    if error is not None:
        said["dutiful-exception-type"] = type(error).__name__
        said["dutiful-exception-message"] = str(error)[:_LONGEST_TEXT]
        # The end of a traceback is where it failed.
        said["dutiful-traceback"] = "".join(traceback.format_exception(error))[-_LONGEST_TRACEBACK:]
    return said


def fingerprint(actor_name: str, reason: Reason, error: BaseException | None) -> str:
    """What is alike for alike failures: the actor, the exception's type and the last places in the code."""
    places: list[str] = []
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)[-_FINGERPRINT_FRAMES:]
        places = [f"{os.path.basename(frame.filename)}:{frame.name}" for frame in frames]  # noqa: PTH119  a name, no path
    kind = type(error).__name__ if error is not None else ""
    return hashlib.sha256("\n".join([actor_name, reason, kind, *places]).encode()).hexdigest()[:16]
