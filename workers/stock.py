"""Stock Dramatiq's messages translated into ours: the same job, told our way."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from dramatiq import Message

from workers import envelope, post_mortem
from workers.delivery import Reason

# What stock's middleware notes in a message for itself: here it is a header, or nothing.
_STOCK_OPTIONS: Final = {"retries", "traceback", "requeue_timestamp", "eta"}
_LAST_LINE: Final = re.compile(r"^(?P<kind>[\w.]+)(?:: (?P<said>.*))?$", re.DOTALL)
_LONGEST_TEXT: Final = 4_000
_LONGEST_TRACEBACK: Final = 16_000


@dataclass(frozen=True, slots=True)
class Translation:
    """One message of stock Dramatiq in our words.

    Attributes:
      message: the job, with its id.
      due: when it may run, in milliseconds since the epoch; 0 is now.
      dead: the headers of a dead letter; None for a job that is to run.
    """

    message: Message[Any]
    due: int
    dead: dict[str, Any] | None


def translate(body: bytes, headers: Mapping[str, Any], *, queue: str, dead: bool) -> Translation:
    """What a message of stock Dramatiq is here.

    Parameters:
      body, headers: as they lie in the queue.
      queue: the work queue; it wins over the name in the body, which may be that of a delay queue.
      dead: it lies among the dead letters.

    Raises:
      ContractError: it can't be read.
    """
    message = envelope.decode(body, headers)
    stock = json.loads(body)["options"]
    retries = stock.get("retries")
    retried = isinstance(retries, int) and retries > 0
    options = {name: value for name, value in message.options.items() if name not in _STOCK_OPTIONS}
    if retried:
        options["attempt"] = retries + 1
    message = message._replace(queue_name=queue, options=options)
    eta = stock.get("eta")
    due = int(eta) if isinstance(eta, int | float) and not isinstance(eta, bool) else 0
    return Translation(message, due, _dead_headers(message, headers, stock, retried=retried) if dead else None)


def _dead_headers(
    message: Message[Any], headers: Mapping[str, Any], stock: Mapping[str, Any], *, retried: bool
) -> dict[str, Any]:
    # Stock notes a failure in the message only when it tries again: one that never was had no retries to use up.
    reason: Reason = "retries_exhausted" if retried else "permanent"
    said = post_mortem.headers(reason, None, message=message)
    said["dutiful-worker"] = "stock Dramatiq"
    died = _died_at(headers)
    if died:
        said["dutiful-first-failed-at"] = said["dutiful-last-failed-at"] = died
    trace = stock.get("traceback")
    if isinstance(trace, str) and trace.strip():
        said["dutiful-traceback"] = trace[-_LONGEST_TRACEBACK:]
        last = _LAST_LINE.match(trace.strip().splitlines()[-1])
        if last:
            said["dutiful-exception-type"] = last["kind"].rpartition(".")[2]
            said["dutiful-exception-message"] = (last["said"] or "")[:_LONGEST_TEXT]
    else:
        said["dutiful-exception-message"] = "stock Dramatiq left no reason in the message; its log has it"
    return said


def _died_at(headers: Mapping[str, Any]) -> str | None:
    deaths = headers.get("x-death")
    when = deaths[0].get("time") if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else None
    if not isinstance(when, datetime):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return when.astimezone(UTC).isoformat(timespec="milliseconds")
