"""A schedule says which job is due when, and what happens to due times that were missed or come too soon."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal, get_args

from scheduling.cron import Cron, ScheduleError
from scheduling.every import Every
from workers.declaration import Actor
from workers.errors import ContractError

Missed = Literal["skip", "run_once", "run_all"]
Overlap = Literal["skip", "queue_one", "allow"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_NOTHING: Final = timedelta(0)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Schedule:
    """One line of a timetable.

    Parameters:
      name: stays for ever: it is in the key of every tick's job. Another name is another schedule.
      actor: the job. It must have a key, since a tick may be published twice when a scheduler dies.
      when: Cron or Every.
      arguments: what the job is given, every time.
      owner: the team that answers for it.
      missed: what becomes of due times that passed while no scheduler ran. "skip": those older than two minutes are
        left out; "run_once": all but the latest; "run_all": those older than `window`.
      window: for "run_all", how far back.
      overlap: what becomes of a due time while the job of the one before is open: not yet ended, or not yet begun.
        "allow": it is published all the same; "skip": it is left out; "queue_one": one waits until the job has ended,
        and the ones after it are left out.
      max_open: a job that is open for longer holds up no other.
      jitter: each due time is acted on later, by a time up to this that follows from the name: on every scheduler the
        same, and every time.

    Raises:
      ScheduleError: it can't run like this.
    """

    name: str
    actor: Actor[..., Any]
    when: Cron | Every
    arguments: Mapping[str, Any] = field(default_factory=dict)
    owner: str = field(kw_only=True)
    missed: Missed = field(default="run_once", kw_only=True)
    window: timedelta | None = field(default=None, kw_only=True)
    overlap: Overlap = field(default="allow", kw_only=True)
    max_open: timedelta = field(default=_DAY, kw_only=True)
    jitter: timedelta = field(default=_NOTHING, kw_only=True)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise self._refusal("a name of small letters, digits and dashes, 100 at most", repr(self.name))
        if not self.owner.strip():
            raise self._refusal('owner="a team"', repr(self.owner))
        if not isinstance(self.when, Cron | Every):
            raise self._refusal('Cron("30 2 * * *") or Every(300)', repr(self.when))
        self._check_policies()
        self._check_job()

    @property
    def delay(self) -> timedelta:
        """By how much the jitter puts off each due time, in whole milliseconds."""
        drawn = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:8])
        return timedelta(milliseconds=drawn % (self.jitter // timedelta(milliseconds=1) + 1))

    def _check_policies(self) -> None:
        for name, words in (("missed", get_args(Missed)), ("overlap", get_args(Overlap))):
            if getattr(self, name) not in words:
                raise self._refusal(f"{name} as one of {', '.join(words)}", repr(getattr(self, name)))
        has_window = self.window is not None and self.window > _NOTHING
        if (self.missed == "run_all") != has_window or (self.window is not None and not has_window):
            raise self._refusal(
                'window=timedelta(…) with missed="run_all", and only there',
                f"missed={self.missed!r}, window={self.window}",
            )
        if self.max_open <= _NOTHING or self.jitter < _NOTHING:
            raise self._refusal(
                "max_open above 0 and jitter not below 0", f"max_open={self.max_open}, jitter={self.jitter}"
            )

    def _check_job(self) -> None:
        if not isinstance(self.actor, Actor):
            raise self._refusal("an actor that is declared with `from workers import actor`", repr(self.actor))
        if self.actor.key is None:
            raise self._refusal(
                "an actor with a key: a tick may be published twice", f"{self.actor.actor_name}, key=None"
            )
        try:
            self.actor.contract.check((), self.arguments)
        except ContractError as error:
            raise self._refusal(error.expected, f"{error.received}: {error.what}") from error

    def _refusal(self, expected: str, received: str) -> ScheduleError:
        return ScheduleError(f"the schedule {self.name!r} can't work", expected=expected, received=received)


def check_names(timetable: Iterable[Schedule]) -> None:
    """Refuse a timetable in which two schedules have one name: only one of them would ever run.

    Raises:
      ScheduleError: it names the name.
    """
    seen: dict[str, Schedule] = {}
    for schedule in timetable:
        if schedule.name in seen:
            raise ScheduleError(
                "the timetable can't work",
                expected="a name of its own for each schedule",
                received=f"{schedule.name!r} for {seen[schedule.name].when} and for {schedule.when}",
            )
        seen[schedule.name] = schedule
