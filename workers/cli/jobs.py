"""`dutiful jobs` tells what became of one job, and takes an operator's orders about it."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli.output import Json, document
from workers.cli.package import broker_of
from workers.errors import ConfigurationError

if TYPE_CHECKING:
    from workers.jobs import Findings, Known

jobs = typer.Typer(no_args_is_help=True, help="Single jobs.")

Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="The message's id.")]
Key = Annotated[str | None, typer.Option(help="The job's key, instead of an id.")]
Actor = Annotated[str, typer.Option(help="The actor's name.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the audit trail.")]
Jobs = Annotated[str, typer.Option("--package", help="The package of jobs.")]

_NO_RECORD = (
    "A message that waits in a queue, or for its time, has no record until it first begins; nor has a job of an actor "
    "with key=None. Look at: dutiful queues list\n"
)


@jobs.command("show")
def show_job(
    message_id: Id = None,
    *,
    key: Key = None,
    actor: Annotated[str | None, typer.Option(help="Only this actor's.")] = None,
    as_json: Json = False,
) -> None:
    """What the store knows of a job: where it is, what happened, and when. Exit status 1: nothing."""
    from workers import jobs as library  # noqa: PLC0415  only what a command uses is loaded
    from workers.cli.store import with_store  # noqa: PLC0415

    _one_of(message_id, key)
    found = with_store(lambda engine: library.show(engine, message_id=message_id, key=key, actor=actor))
    if as_json:
        document(asdict(found))
    else:
        sys.stdout.writelines(f"{line}\n" for line in _told(found))
    if not (found.jobs or found.unsent or found.ticks or found.group):
        sys.stderr.write(f"Nothing is known of {message_id or key}. {_NO_RECORD}")
        raise typer.Exit(1)


@jobs.command("cancel")
def cancel_job(
    message_id: Id = None,
    *,
    key: Key = None,
    actor: Actor,
    reason: Reason,
    package: Jobs = "actors",
) -> None:
    """Let a job not begin, or not be tried again. One that runs is asked to stop. Exit status 1: it has ended."""
    from workers import jobs as library  # noqa: PLC0415
    from workers.cli.store import with_store  # noqa: PLC0415

    _one_of(message_id, key)

    def act(engine: Any) -> tuple[str, Any]:
        chosen = key
        if chosen is None and message_id is not None:
            chosen = library.key_of(engine, message_id, actor) or _key_by_id(package, actor, message_id)
        assert chosen is not None  # noqa: S101  narrows the type
        return chosen, library.cancel(engine, actor, chosen, reason=reason)

    chosen, before = with_store(act)
    what = f"{actor} {chosen}"
    if before is None:
        sys.stdout.write(f"{what}: canceled before it began; no message with this key runs\n")
    elif before.state == "running":
        sys.stdout.write(
            f"{what}: it runs, and was asked to stop. If it succeeds it is done; else it ends as canceled.\n"
        )
    else:
        sys.stdout.write(f"{what}: canceled; it was {before.state}\n")


@jobs.command("rerun")
def rerun_job(message_id: Id = None, *, key: Key = None, actor: Actor, reason: Reason) -> None:
    """Forget a job's key, so that the next message with it runs again. Sends nothing. Exit status 1: refused."""
    from workers import jobs as library  # noqa: PLC0415
    from workers.cli.store import with_store  # noqa: PLC0415

    _one_of(message_id, key)

    def act(engine: Any) -> tuple[str, Any]:
        chosen = key if message_id is None else library.key_of(engine, message_id, actor) or message_id
        assert chosen is not None  # noqa: S101  narrows the type
        return chosen, library.rerun(engine, actor, chosen, reason=reason)

    chosen, before = with_store(act)
    sys.stdout.write(f"{actor} {chosen}: forgotten; it was {before.state}. Nothing was sent: ")
    if before.state == "dead":
        sys.stdout.write("replay its dead letter, or send the message again.\n")
    else:
        sys.stdout.write("it runs when a message with this key comes. Send the message again.\n")


def _one_of(message_id: str | None, key: str | None) -> None:
    if (message_id is None) == (key is None):
        raise typer.BadParameter("give the message's ID, or --key, and not both")


def _key_by_id(package: str, actor: str, message_id: str) -> str:
    """The key of a message that has not begun, where its id alone tells it."""
    from workers.cli.actors import key_of  # noqa: PLC0415

    declared = broker_of(package).actors.get(actor)
    if declared is None:
        raise ConfigurationError("a job can't be canceled", expected=f"an actor of {package}", received=actor)
    kind = key_of(declared)
    if kind != "the message id":
        raise ConfigurationError(
            f"{message_id} has not begun, so its key is not known yet",
            expected="--key with the job's key" if getattr(declared, "key", "") else "an actor that keeps a record",
            received=f"an actor whose key is {kind}",
        )
    return message_id


def _told(found: "Findings") -> Iterator[str]:
    for each in found.jobs:
        yield from _job(each)
    for sent in found.unsent:
        later = f", to be delayed by {sent.delay_ms} ms" if sent.delay_ms else ""
        when = _time(sent.created_at)
        yield f"{sent.message_id}: stored by {sent.actor} {sent.key} at {when}, not yet published{later}"
    for tick in found.ticks:
        published = f"published {_time(tick.published_at)}" if tick.published_at else "not yet published"
        yield f"tick of {tick.schedule}: due {_time(tick.due_at)}, recorded {_time(tick.recorded_at)}, {published}"
    if found.group is not None:
        members = f"{found.group.counted} of {found.group.expected} members have succeeded"
        done, more = found.group.completed_at, ", more may come" if found.group.open else ""
        yield f"group: {members}{more}" + (f", complete since {_time(done)}" if done else "")


def _job(job: "Known") -> Iterator[str]:
    yield f"{job.actor} {job.key}"
    row = job.record
    if row is None:
        yield "  state:    no record"
    else:
        yield f"  state:    {row.state} since {_time(row.updated_at)}"
        yield f"  attempt:  {row.attempt}, generation {row.generation}, started {row.fence} times"
        yield f"  message:  {row.message_id or 'not known'}"
        yield f"  known:    since {_time(row.created_at)}"
        if row.holder is not None:
            yield f"  runs in:  {_place(job)}"
    if job.unsent:
        yield f"  unsent:   {job.unsent} messages that it sent are still to be published"
    for line in job.audit:
        yield f"  {_time(line.at)} {line.action} by {line.who}: {line.reason} ({line.detail})"


def _place(job: "Known") -> str:
    holder = job.holder
    if holder is None:
        return "a process that is gone; the message comes again, and is taken over"
    if holder.alive:
        return f"pid {holder.pid} on {holder.host}, lease good until {_time(holder.expires_at)}"
    return f"pid {holder.pid} on {holder.host}, which is dead; the message comes again, and is taken over"


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
