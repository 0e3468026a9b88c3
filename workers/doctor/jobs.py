"""What the jobs and their timetable say of themselves is checked here."""

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from importlib import import_module
from typing import Any, Final

from workers.declaration import Actor
from workers.doctor.line import Line, ok, wrong
from workers.errors import ConfigurationError, DutifulError
from workers.limits import Limits
from workers.transport import topology

# Beyond the longest delay: a message that comes twice may also have waited in its queue.
_MARGIN: Final = timedelta(days=1)
_KEY_TTL: Final = "DUTIFUL_STORE__KEY_TTL_SECONDS"


def contracts(actors: Mapping[str, Any]) -> list[Line]:
    """Whether each actor's contract can be told to others."""
    found = []
    for name, actor in sorted(actors.items()):
        try:
            _ = actor.contract.model.model_json_schema() if isinstance(actor, Actor) else None
        except Exception as error:  # noqa: BLE001  whatever an annotation's own schema raises
            found.append(
                wrong(
                    "contracts",
                    f"the contract of {name} can't be written as a JSON schema",
                    expected="annotations that pydantic can describe",
                    received=f"{type(error).__name__}: {error}",
                    mend=f"# change the annotations of {name}",
                )
            )
    plain = sorted(name for name, actor in actors.items() if not isinstance(actor, Actor))
    more = f"; without a contract or a card: {', '.join(plain)}" if plain else ""
    return found or ok("contracts", f"{len(actors)} actors{more}")


def limits(actors: Mapping[str, Any], chosen: Limits) -> list[Line]:
    """Whether every attempt, with its grace, ends before RabbitMQ gives its message to somebody else."""
    found = []
    for name, actor in sorted(actors.items()):
        try:
            chosen.refuse(name, actor.options)  # a plain Dramatiq actor was not looked at when it was declared
        except ConfigurationError as error:
            found.append(refused_limit(name, error))
    return found or ok("time limits", f"all below {chosen.consumer_timeout - chosen.grace}")


def refused_limit(name: str, error: ConfigurationError) -> Line:
    """What is wrong with an actor's limits."""
    return wrong(
        "time limits",
        error.what,
        expected=error.expected,
        received=error.received,
        mend=f"# give {name} shorter limits, or checkpoints",
    )


def timetable(package: str, actors: Mapping[str, Any]) -> tuple[list[Line], list[Any]]:
    """Whether every schedule can run.

    Parameters:
      package: with the module `timetable`. By name, because the runtime knows no schedules.
      actors: those that workers know.

    Returns:
      the lines, and the schedules; none where they can't be read.
    """
    where = f"{package.replace('.', '/')}/timetable.py"
    try:
        schedules = list(import_module(f"{package}.timetable").TIMETABLE)
    except DutifulError as error:
        return [
            wrong("timetable", error.what, expected=error.expected, received=error.received, mend=f"# edit {where}")
        ], []
    except Exception as error:  # noqa: BLE001  it is code, and may raise anything
        return [
            wrong(
                "timetable",
                f"{package}.timetable can't be imported",
                expected="a module with TIMETABLE, whose actors exist",
                received=f"{type(error).__name__}: {error}",
                mend=f"# edit {where}",
            )
        ], []
    strangers = [each for each in schedules if each.actor.actor_name not in actors]
    found = [
        wrong(
            "timetable",
            f"the schedule {each.name!r} names an actor that no worker knows",
            expected="an actor of the package that the workers run",
            received=each.actor.actor_name,
            mend="# import its module in the package's __init__.py",
        )
        for each in strangers
    ]
    return found or ok("timetable", f"{len(schedules)} schedules"), schedules


def keys(
    ttl: timedelta, actors: Mapping[str, Any], schedules: Iterable[Any], *, backoff: timedelta, waiting: timedelta
) -> list[Line]:
    """Whether ended keys are kept for longer than any message may be late: one that comes later runs again.

    Parameters:
      ttl: how long they are kept.
      backoff: the longest delay between attempts, where the actor states none.
      waiting: the longest delay that a message in RabbitMQ is known to have.
    """
    delays = {"a retry": backoff, "a message that waits in RabbitMQ": waiting}
    for name, actor in actors.items():
        if isinstance(actor, Actor) and actor.key is None:
            continue
        for option in ("max_backoff", "expires_in"):
            stated = actor.options.get(option)
            if stated:
                delays[f"{option} of {name}"] = timedelta(milliseconds=stated)
    for each in schedules:
        if each.window is not None:
            delays[f"the window of the schedule {each.name}"] = each.window
    why, longest = max(delays.items(), key=lambda delay: delay[1])
    if longest + _MARGIN <= ttl:
        return ok("keys", f"kept for {ttl}; the longest delay is {longest}")
    seconds = math.ceil((longest + _MARGIN).total_seconds())
    return [
        wrong(
            "keys",
            "the key of a job that has ended may be gone before the last copy of its message comes",
            expected=f"{_KEY_TTL} a day above the longest delay, {longest} ({why})",
            received=f"{ttl}",
            mend=f"export {_KEY_TTL}={seconds}",
        )
    ]


def delay_of(levels: Iterable[int]) -> timedelta:
    """The longest delay that messages in these levels of the delay ladder are known to have."""
    return max((timedelta(milliseconds=topology.UNIT_MS * 2**number) for number in levels), default=timedelta(0))
