"""The situation answers four questions: is it up, is it slow, are jobs failing, has anything changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from workers.queues import Holding
from workers.store.recent import Recent

Verdict = Literal["fine", "degraded", "down", "unknown"]

# The objectives of deploy/prometheus/thresholds.py, which is no part of what is installed; a test compares them.
FAILED_SHARE: Final = 0.01
OLDEST_JOB_SECONDS: Final = 300.0
SCHEDULE_LATE_SECONDS: Final = 120.0
DEPLOY_FACTOR: Final = 2.0
DEPLOY_MORE: Final = 0.01

_ELSEWHERE: Final = "workers on other hosts: only those of this host are asked, at DUTIFUL_METRICS__PORT"
_KEYLESS: Final = "how jobs without a key ended: the store keeps no record of them"
_PAST: Final = "when something was deployed: save --json before, and use --compare after it"


@dataclass(frozen=True)
class Served:
    """What the workers of this host serve.

    Attributes:
      reasons: why they aren't healthy.
      oldest: for each queue, how many seconds its oldest job may have waited.
      versions: that run.
    """

    reasons: list[str]
    oldest: dict[str, float]
    versions: list[str]


@dataclass(frozen=True)
class Facts:
    """What was found out; text says why something was not.

    Attributes:
      queues: of RabbitMQ.
      recent: of the store.
      workers: of this host.
    """

    queues: Sequence[Holding] | str
    recent: Recent | str
    workers: Served | str


@dataclass
class Answer:
    """One answer.

    Attributes:
      verdict: in one word.
      says: why, in sentences.
    """

    question: str
    verdict: Verdict = "fine"
    says: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict, text: str) -> None:
        """Say more; the worst verdict stays."""
        self.says.append(text)
        order: list[Verdict] = ["fine", "unknown", "degraded", "down"]
        self.verdict = max(self.verdict, verdict, key=order.index)


def answers(facts: Facts) -> list[Answer]:
    """The four answers."""
    return [_up(facts), _slow(facts), _failing(facts), _changed(facts)]


def unknown(facts: Facts) -> list[str]:
    """What can't be known from here."""
    served = [_ELSEWHERE] if isinstance(facts.workers, Served) else [f"how the workers are: {facts.workers}"]
    return [*served, _KEYLESS, _PAST]


def numbers(facts: Facts) -> dict[str, float]:
    """What can be compared with another time."""
    found: dict[str, float] = {}
    if not isinstance(facts.queues, str):
        for each in facts.queues:
            found |= {f"{each.queue} ready": each.ready or 0, f"{each.queue} dead": each.dead or 0}
            found[f"{each.queue} consumers"] = each.consumers or 0
    if isinstance(facts.recent, Recent):
        found["ended in an hour"] = facts.recent.ended
        found["dead in an hour"] = facts.recent.dead
        found["worker processes"] = facts.recent.processes
    return found


def _up(facts: Facts) -> Answer:
    answer = Answer("Is it up?")
    if isinstance(facts.queues, str):
        answer.add("down", f"RabbitMQ: {facts.queues}")
    else:
        unread = [each.queue for each in facts.queues if not each.consumers]
        if unread:
            nobody = len(unread) == len(facts.queues)
            answer.add("down" if nobody else "degraded", f"no worker reads {', '.join(unread)}")
        missing = [each.queue for each in facts.queues if each.missing]
        if missing:
            answer.add("degraded", f"missing, or without its dead queue: {', '.join(missing)}")
    if isinstance(facts.recent, str):
        answer.add("down", f"the store: {facts.recent}")
    else:
        answer.add("fine", f"{facts.recent.processes} worker processes hold a lease")
    for reason in facts.workers.reasons if isinstance(facts.workers, Served) else []:
        answer.add("degraded", reason)
    return answer


def _slow(facts: Facts) -> Answer:
    answer = Answer("Is it slow?")
    if isinstance(facts.queues, str):
        answer.add("unknown", "RabbitMQ doesn't say what waits")
    else:
        waiting = {each.queue: each.ready or 0 for each in facts.queues if each.ready}
        shown = ", ".join(f"{ready} in {queue}" for queue, ready in waiting.items())
        answer.add("fine", f"waiting: {shown or 'nothing'}")
    for queue, seconds in facts.workers.oldest.items() if isinstance(facts.workers, Served) else []:
        if seconds > OLDEST_JOB_SECONDS:
            answer.add("degraded", f"the oldest job in {queue} may have waited for {seconds:.0f} s")
    if isinstance(facts.recent, Recent) and facts.recent.oldest_tick_seconds > SCHEDULE_LATE_SECONDS:
        answer.add("degraded", f"a tick that is due has waited for {facts.recent.oldest_tick_seconds:.0f} s")
    return answer


def _failing(facts: Facts) -> Answer:
    answer = Answer("Are jobs failing?")
    if isinstance(facts.recent, str):
        answer.add("unknown", "the store doesn't say how jobs ended")
    else:
        share = _share(facts.recent.dead, facts.recent.ended)
        verdict: Verdict = "degraded" if share > FAILED_SHARE else "fine"
        answer.add(verdict, f"{facts.recent.dead} of {facts.recent.ended} jobs died in the last hour ({share:.1%})")
    if not isinstance(facts.queues, str):
        dead = sum(each.dead or 0 for each in facts.queues)
        answer.add("fine", f"{dead} dead letters wait for a person")
    return answer


def _changed(facts: Facts) -> Answer:
    answer = Answer("Has anything changed?")
    if isinstance(facts.recent, str):
        answer.add("unknown", "the store doesn't say how jobs ended")
    else:
        before = facts.recent.ended - facts.recent.ended_lately
        then = _share(facts.recent.dead - facts.recent.dead_lately, before)
        lately = _share(facts.recent.dead_lately, facts.recent.ended_lately)
        worse = lately > DEPLOY_FACTOR * then + DEPLOY_MORE
        answer.add("degraded" if worse else "fine", f"{lately:.1%} died in ten minutes, {then:.1%} in those before")
    if isinstance(facts.workers, Served):
        several = len(facts.workers.versions) > 1
        answer.add("degraded" if several else "fine", f"running here: {', '.join(facts.workers.versions) or 'nothing'}")
    return answer


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
