"""Policy decides which due times become jobs, which are left out, and why."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Final

from scheduling.schedule import Schedule
from workers.store.pauses import Pause
from workers.store.ticks import Why

GRACE: Final = timedelta(minutes=2)
# So many rows in one transaction; the next look goes on from there.
_MOST: Final = 1000
# Counting more of them would hold up the other schedules.
_COUNTED: Final = 10_000
_MOMENT: Final = timedelta(microseconds=1)
_WAITING_AND_RUNNING: Final = 2


@dataclass
class Plan:
    """What is to be recorded of one schedule, in the order of due times.

    Attributes:
      ticks: due time, and why it is skipped; None: it is to be published.
      left_out: due times that get no row of their own. They come before the first of `ticks`, which is the mark that
        they were dealt with.
      why: the reason for those.
    """

    ticks: list[tuple[datetime, Why | None]] = field(default_factory=list)
    left_out: int = 0
    why: Why = "missed"


def plan(
    schedule: Schedule, *, since: datetime, watched_since: datetime, now: datetime, unended: int, pause: Pause | None
) -> Plan:
    """What to do with the due times after `since`, up to now, or with the first of them: the next look goes on.

    Parameters:
      since: the later of the last tick and the first sight of the schedule.
      watched_since: from then on a scheduler was at work without a break; what was due then is late, and not missed.
      now: the moment, less what the jitter puts off.
      unended: ticks before these that are recorded and whose jobs have not ended.
      pause: the schedule's, which may have ended.
    """
    if pause is not None:
        made = Plan()
        if since < pause.since:
            made = _unpaused(schedule, since, watched_since, min(now, pause.since), unended)
            since = pause.since
        until = min(now, pause.until or now)
        if not made.ticks and since < until:
            made = _left_out(schedule, since, until, why="paused")
            since = until
        if made.ticks:
            return made
    return _unpaused(schedule, since, watched_since, now, unended)


def _unpaused(schedule: Schedule, since: datetime, watched_since: datetime, now: datetime, unended: int) -> Plan:
    missed_until = min(max(since, watched_since), now)
    run_from = _run_from(schedule, since, missed_until, now)
    made = _left_out(schedule, since, run_from, why="missed") if run_from > since else Plan()
    late = schedule.when.due_between(missed_until, now)
    to_run = list(islice(chain(schedule.when.due_between(run_from, missed_until), late), _MOST))
    if to_run and made.ticks:
        made.left_out += 1  # the first that runs is mark enough
        made.ticks.clear()
    made.ticks += _overlapping(schedule, to_run, unended)
    return made


def _run_from(schedule: Schedule, since: datetime, missed_until: datetime, now: datetime) -> datetime:
    """Of the due times after `since` that were missed, those after this moment run."""
    match schedule.missed:
        case "skip":
            chosen = now - GRACE
        case "run_all":
            chosen = now - (schedule.window or GRACE)
        case "run_once":
            latest = schedule.when.latest_due(since, missed_until)
            chosen = since if latest is None else latest - _MOMENT
    return max(since, min(chosen, missed_until))


def _left_out(schedule: Schedule, since: datetime, until: datetime, *, why: Why) -> Plan:
    """The latest gets a row, so that nobody looks at these again; the others are counted."""
    latest = schedule.when.latest_due(since, until)
    if latest is None:
        return Plan()
    before = sum(1 for _ in islice(schedule.when.due_between(since, latest - _MOMENT), _COUNTED))
    return Plan([(latest, why)], before, why)


def _overlapping(schedule: Schedule, due: list[datetime], unended: int) -> Iterator[tuple[datetime, Why | None]]:
    room = {"skip": 1, "queue_one": _WAITING_AND_RUNNING, "allow": _MOST + unended}[schedule.overlap] - unended
    for n, each in enumerate(due):
        yield each, None if n < room else "overlap"
