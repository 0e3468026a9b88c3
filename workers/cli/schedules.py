"""`dutiful schedules` tells what is due, what became of it, and takes an operator's orders about it."""

import sys
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from importlib import import_module
from typing import Annotated, Any

import typer

from workers.cli import pausing
from workers.cli.moments import moment, written
from workers.cli.output import Json, document, show
from workers.cli.pausing import Reason, Until

schedules = typer.Typer(no_args_is_help=True, help="What runs by the clock.")

Name = Annotated[str, typer.Argument(help="The schedule's name.")]
Package = Annotated[str, typer.Option("--package", help="The package with the timetable.")]
Count = Annotated[int, typer.Option(min=1, max=1000, help="How many.")]


@schedules.command("list")
def list_schedules(package: Package = "scheduling", as_json: Json = False) -> None:
    """Every schedule: when it is due, what became of the last tick, how late it was, and whether it is paused."""
    desk, timetable, store = _opened(package)
    states = desk.overview(store, timetable)
    rows = [
        {
            "schedule": each.schedule.name,
            "when": str(each.schedule.when),
            "next due": written(each.next_due),
            "last due": written(each.last and each.last.due_at),
            "started": written(each.last and each.last.started_at),
            "ended": written(each.last and each.last.ended_at),
            "outcome": (each.last and (each.last.outcome or _where(each.last))) or "",
            "late by": "" if each.late_seconds is None else f"{each.late_seconds:.0f} s",
            "paused": pausing.told(each.pause),
        }
        for each in states
    ]
    if as_json:
        document([_state(each) for each in states])
    else:
        show(rows, as_json=False, nothing="no schedules")


@schedules.command("next")
def next_due(name: Name, *, count: Count = 5, package: Package = "scheduling", as_json: Json = False) -> None:
    """When a schedule is due next, in UTC and in its own zone."""
    desk, timetable, _ = _opened(package)
    schedule = desk.find(timetable, name)
    zone = getattr(schedule.when, "zone", None)
    rows = [
        {"due": written(due), "there": f"{due.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}" if zone else ""}
        for due in desk.upcoming(schedule, count)
    ]
    show(rows, as_json=as_json, nothing="never")


@schedules.command("history")
def show_history(name: Name, *, count: Count = 20, package: Package = "scheduling", as_json: Json = False) -> None:
    """What became of a schedule's latest ticks, the newest first."""
    desk, timetable, store = _opened(package)
    found = desk.history(store, desk.find(timetable, name), count)
    if as_json:
        document([asdict(tick) for tick in found])
        return
    rows = [
        {
            "due": written(tick.due_at),
            "kind": tick.kind,
            "published": written(tick.published_at) if tick.actor else "",
            "started": written(tick.started_at),
            "ended": written(tick.ended_at),
            "outcome": tick.outcome or _where(tick),
            "message": tick.message_id,
        }
        for tick in found
    ]
    show(rows, as_json=False, nothing=f"{name} has not been due yet")


@schedules.command("run")
def run_now(name: Name, *, reason: Reason, package: Package = "scheduling") -> None:
    """Have a schedule's job run now, marked as manual, beside whatever is due."""
    desk, timetable, store = _opened(package)
    schedule = desk.find(timetable, name)
    try:
        tick = desk.run(store, schedule, reason=reason)
    finally:
        schedule.actor.broker.close()
    sys.stdout.write(f"{name}: published as {tick.message_id}. Look at it: dutiful jobs show {tick.message_id}\n")


@schedules.command("pause")
def pause_schedule(name: Name, *, reason: Reason, until: Until = None, package: Package = "scheduling") -> None:
    """Leave a schedule's due times out from now on; schedulers obey within seconds, exact to the due time."""
    _, timetable, _ = _opened(package)
    pausing.pause("schedule", name, [each.name for each in timetable], reason=reason, until=until)


@schedules.command("resume")
def resume_schedule(name: Name) -> None:
    """Let a paused schedule go on. What was due meanwhile is left out: see backfill. Exit status 1: not paused."""
    pausing.resume("schedule", name)


@schedules.command("backfill")
def backfill_schedule(
    name: Name,
    *,
    first: Annotated[datetime, typer.Option("--from", parser=moment, metavar="TIME", help="The first due time.")],
    last: Annotated[datetime, typer.Option("--to", parser=moment, metavar="TIME", help="The last due time.")],
    again: Annotated[bool, typer.Option("--again", help="Run those too that have run.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, only say what would be done.")] = False,
    reason: Annotated[str, typer.Option(help="Why; with --yes it is kept in the audit trail.")] = "",
    package: Package = "scheduling",
    as_json: Json = False,
) -> None:
    """Run the due times of a span that were left out or passed before the schedule was there."""
    desk, timetable, store = _opened(package)
    schedule = desk.find(timetable, name)
    steps = desk.plan_backfill(store, schedule, first, last, again=again)
    if yes and not reason.strip():
        raise typer.BadParameter("give --reason with --yes")
    recorded = desk.backfill(store, schedule, steps, reason=reason) if yes else 0
    if as_json:
        document({"recorded": recorded, "due": [{"due_at": due, "step": step} for due, step in steps]})
        return
    show([{"due": written(due), "step": step} for due, step in steps], as_json=False, nothing="nothing is due then")
    for step, count in Counter(step for _, step in steps).items():
        sys.stdout.write(f"{step}: {count}\n")
    sys.stdout.write(
        f"recorded {recorded}; a scheduler publishes them\n" if yes else "nothing was done: --yes does it\n"
    )


def _opened(package: str) -> tuple[Any, Any, Any]:
    """The desk, the timetable and the store. By name, because the runtime knows no schedules."""
    desk = import_module("scheduling.desk")
    timetable = import_module(f"{package}.timetable").TIMETABLE
    from workers.broker import setup_broker  # noqa: PLC0415  after the timetable, whose jobs set it up

    return desk, timetable, setup_broker().store


def _where(tick: Any) -> str:
    """How far a tick has come that has not ended."""
    if tick.started_at:
        return "running"
    return "published" if tick.published_at else "waiting to be published"


def _state(each: Any) -> dict[str, Any]:
    return {
        "schedule": each.schedule.name,
        "when": str(each.schedule.when),
        "actor": each.schedule.actor.actor_name,
        "owner": each.schedule.owner,
        "next_due": each.next_due,
        "last": each.last and asdict(each.last),
        "late_seconds": each.late_seconds,
        "pause": each.pause and asdict(each.pause),
    }
