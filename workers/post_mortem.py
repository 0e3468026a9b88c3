"""A post-mortem says why a job failed: the headers that its message gets on the way to the dead queue."""

import hashlib
import json
import os
import socket
import traceback
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from workers.clock import utcnow
from workers.delivery import Carried, Reason

# RabbitMQ takes all headers of a message in one frame of 131,072 bytes: these together stay far below it.
_LONGEST_NAME: Final = 255
_LONGEST_TEXT: Final = 4_000
_LONGEST_TRACEBACK: Final = 16_000
_LONGEST_ORIGINAL: Final = 16_000
_FINGERPRINT_FRAMES: Final = 3
_KEPT_FAILURES: Final = 20


def headers(reason: Reason, error: BaseException | None, *, message: Carried | None = None) -> dict[str, Any]:
    """What a dead letter says of itself.

    Parameters:
      reason: one word; workers.delivery.Reason lists them.
      error: what was raised.
      message: the message, where it could be read.
    """
    now = utcnow().isoformat(timespec="milliseconds")
    first = message.options.get("first_failed_at") if message is not None else None
    said: dict[str, Any] = {
        "dutiful-reason": reason,
        "dutiful-attempts": int(message.options.get("attempt", 1)) if message is not None else 0,
        "dutiful-first-failed-at": first if isinstance(first, str) and len(first) <= len(now) else now,
        "dutiful-last-failed-at": now,
        "dutiful-worker": _here(),
        "dutiful-version": version("dutiful"),
        "dutiful-fingerprint": fingerprint(message.actor_name if message is not None else "", reason, error),
    }
    if error is not None:
        said["dutiful-exception-type"] = beginning(type(error).__name__, _LONGEST_NAME)
        said["dutiful-exception-message"] = beginning(str(error), _LONGEST_TEXT)
        # The end of a traceback is where it failed.
        trace = "".join(traceback.format_exception(error)).encode(errors="replace")[-_LONGEST_TRACEBACK:]
        said["dutiful-traceback"] = trace.decode(errors="ignore")
    return said


def unreadable(error: BaseException, received: Mapping[str, Any], reason: Reason = "undecodable") -> dict[str, Any]:
    """What a dead letter says whose message could not be read, with the headers that came."""
    said = headers(reason, error)
    if received:
        said["dutiful-original"] = beginning(json.dumps(received, default=repr), _LONGEST_ORIGINAL)
    return said


def failures(message: Carried, error: BaseException | None) -> list[str]:
    """Time, worker and exception of each failed attempt, oldest first, with this one; a message carries them along."""
    before = message.options.get("failures")
    kept = [each for each in before if isinstance(each, str)] if isinstance(before, list) else []
    now = utcnow().isoformat(timespec="milliseconds")
    return [*kept, f"{now} {_here()} {type(error).__name__}"[:_LONGEST_NAME]][-_KEPT_FAILURES:]


def fingerprint(actor_name: str, reason: str, error: BaseException | None) -> str:
    """What is alike for alike failures: the actor, the exception's type and the last places in the code."""
    where = places(error) if error is not None else []
    kind = type(error).__name__ if error is not None else ""
    text = "\n".join([actor_name, reason, kind, *where])
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def places(error: BaseException) -> list[str]:
    """The last places in the code that an error came through; one from a child process brings them along."""
    brought: list[str] | None = getattr(error, "places", None)
    if brought is not None:
        return brought
    frames = traceback.extract_tb(error.__traceback__)[-_FINGERPRINT_FRAMES:]
    return [f"{os.path.basename(frame.filename)}:{frame.name}" for frame in frames]  # noqa: PTH119  a name, no path


def beginning(text: str, most: int) -> str:
    """As much of a text as fits into so many bytes."""
    return text.encode(errors="replace")[:most].decode(errors="ignore")


def _here() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"
