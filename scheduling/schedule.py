"""A schedule says which job is due when."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scheduling.cron import Cron, ScheduleError
from workers.declaration import Actor
from workers.errors import ContractError

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


@dataclass(frozen=True)
class Schedule:
    """One line of a timetable.

    Parameters:
      name: stays for ever: it is in the key of every tick's job. Another name is another schedule.
      actor: the job. It must have a key, since a tick may be published twice when a scheduler dies.
      cron: when it is due.
      arguments: what the job is given, every time.
      owner: the team that answers for it.

    Raises:
      ScheduleError: the actor can't run like this.
    """

    name: str
    actor: Actor[..., Any]
    cron: Cron
    arguments: Mapping[str, Any] = field(default_factory=dict)
    owner: str = field(kw_only=True)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise self._refusal("a name of small letters, digits and dashes, 100 at most", repr(self.name))
        if not self.owner.strip():
            raise self._refusal('owner="a team"', repr(self.owner))
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
                received=f"{schedule.name!r} for {seen[schedule.name].cron} and for {schedule.cron}",
            )
        seen[schedule.name] = schedule
