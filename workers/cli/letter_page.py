"""The page about one dead letter, for the person who has to decide."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from workers.declaration import Actor
from workers.letter import Letter

RUNBOOK: Final = "docs/operations.md#dead-letters"
_ADVICE: Final = {
    "permanent": "the job says that trying again can't help: mend what it names, then replay; else discard",
    "retries_exhausted": "mend what the error names, then replay the group",
    "time_limit": "find out why it is slow, or raise its time_limit; then replay",
    "crashed": "look at the workers' logs for its stack; mend the job, then replay",
    "expired": "find out why it waited; replay it if it is of use still",
    "contract": "the publisher and the job disagree: deploy the one that is right. A replay sends the same arguments",
    "undecodable": "the publisher is wrong: mend it, let it send again, then discard this",
    "unknown_actor": "deploy a worker that has this actor, then replay; or discard",
    "key_conflict": "two jobs share a key: mend the publisher, let it send again with another key, then discard this",
    "delivery_limit": "look at the logs of the workers when it was delivered; mend the job, then replay",
    "unroutable": "dutiful queues declare, then replay",
}


def facts(letter: Letter, actor: Any) -> dict[str, Any]:
    """All that a page says, for programs.

    Parameters:
      actor: the actor of that name; None: nobody here knows it.
    """
    card = asdict(actor.card) if isinstance(actor, Actor) else None
    advice = _ADVICE.get(letter.reason, "read the traceback; then replay or discard")
    repeats = isinstance(actor, Actor) and actor.key is None
    return letter.details() | {
        "card": card,
        "advice": advice + (". It has no key: a replay may run twice" if repeats else ""),
        "runbook": RUNBOOK,
    }


def lines(page: Mapping[str, Any]) -> Iterator[str]:
    """The same, for people."""
    yield f"{page['actor'] or 'no actor'} {page['id'] or 'no id'} in {page['queue']}"
    yield f"  reason:     {page['reason']}: {page['why']}"
    yield f"  failed:     {page['failed_at'] or 'time not known'}, first {page['first_failed_at'] or 'not known'}"
    yield f"  attempts:   {page['attempts']}, the last by {page['worker'] or 'nobody known'}, version {page['version']}"
    yield f"  replays:    {page['replays']}" + (f", of {page['replay_of']}" if page["replay_of"] else "")
    for each in page["failures"]:
        yield f"  before:     {each}"
    for name in ("key", "fingerprint", "bytes", "arguments", "body", "original_headers"):
        if page[name] is not None:
            yield f"  {name.partition('_')[0]}:".ljust(14) + str(page[name])
    if page["card"]:
        yield f"  owner:      {page['card']['owner']}"
        yield f"  expects:    {page['card']['expects']}"
        yield f"  rollback:   {page['card']['rollback']}"
    yield f"  to do:      {page['advice']}"
    yield f"  runbook:    {page['runbook']}"
    if page["traceback"]:
        yield from (f"    {line}" for line in page["traceback"].rstrip().splitlines())
