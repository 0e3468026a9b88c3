"""Compares what was published with what became of it: lost, doubled, charged, dead."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, text

from deploy.demo.checks import Check, wanted

ENTRIES = text("SELECT job, n, sent, at FROM rehearsal_entries")
ENDED = text("SELECT count(*) FROM dutiful_keys WHERE actor LIKE 'rehearsal.%' AND state = 'done'")
RUNNING = text("SELECT count(*) FROM dutiful_keys WHERE actor = :actor AND state = 'running'")
KEYS = text("SELECT actor, key, state, attempt FROM dutiful_keys WHERE actor LIKE 'rehearsal.%'")


@dataclass(frozen=True)
class Entry:
    """One effect of one job; times are seconds since the epoch."""

    job: str
    n: int
    sent: float
    at: float


@dataclass(frozen=True)
class Published:
    """The numbers of the jobs that were confirmed, by job."""

    enter: Sequence[int]
    follow: Sequence[int]
    linger: Sequence[int]


def entries(engine: Engine) -> list[Entry]:
    """Return every effect."""
    with engine.connect() as connection:
        return [Entry(*row) for row in connection.execute(ENTRIES)]


def keys(engine: Engine) -> list[tuple[str, str, str, int]]:
    """Return actor, key, state and attempt of each job."""
    with engine.connect() as connection:
        return [(actor, key, state, attempt) for actor, key, state, attempt in connection.execute(KEYS)]


def runs(engine: Engine, actor: str) -> bool:
    """Tell whether a job of an actor runs now."""
    with engine.connect() as connection:
        return bool(connection.execute(RUNNING, {"actor": actor}).scalar_one())


def done(engine: Engine) -> int:
    """Return how many jobs of the rehearsal are done."""
    with engine.connect() as connection:
        return int(connection.execute(ENDED).scalar_one())


def checks(
    published: Published,
    found: Iterable[Entry],
    kept: Sequence[tuple[str, str, str, int]],
    dead: dict[str, int],
    left: dict[str, int],
) -> list[Check]:
    """Say what must hold when everything that was published had its time.

    Parameters:
      found: every effect.
      kept: actor, key, state and attempt of each job.
      dead: dead letters by queue.
      left: messages that still wait, by queue.
    """
    due = {job: set(getattr(published, job)) for job in ("enter", "follow", "linger")}
    expected = {(job, n) for job, numbers in due.items() for n in numbers}
    counted = Counter((entry.job, entry.n) for entry in found)
    doubled = (_named(job) for job, runs in counted.items() if runs > 1)
    undone = (f"{actor} {key}: {state}" for actor, key, state, _ in kept if state != "done")
    charged = (f"{actor} {key}: attempt {attempt}" for actor, key, _, attempt in kept if attempt != 1)
    return [
        wanted("no job was lost", f"{len(expected):,} effects", "missing", map(_named, expected - counted.keys())),
        wanted("no job was doubled", "each once", "more than once", doubled),
        wanted("nothing ran that nobody asked for", "nothing", "unasked", map(_named, counted.keys() - expected)),
        wanted("every job is done", "all of them", "not done", undone),
        wanted("no job was charged an attempt", "attempt 1 of each", "charged", charged),
        wanted("there is no dead letter", "none", "queues", (f"{n} in {name}" for name, n in dead.items() if n)),
        wanted("no message is left", "none", "queues", (f"{n} in {name}" for name, n in left.items() if n)),
    ]


def _named(job: tuple[str, int]) -> str:
    return f"{job[0]} {job[1]}"


def waits(found: Iterable[Entry], since: float, until: float) -> tuple[float, float, float] | None:
    """Return p50, p99 and the longest wait, in seconds, of the short jobs that were sent in a time; None: of none."""
    short = [entry for entry in found if entry.job == "enter" and since <= entry.sent < until]
    if not short:
        return None
    in_order = sorted(entry.at - entry.sent for entry in short)
    last = len(in_order) - 1
    return in_order[last // 2], in_order[last * 99 // 100], in_order[last]
