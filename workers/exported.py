"""Exported contracts are files beside the code: what publishers were told, and what messages that wait were made for.

<actor>.json              the contract of today
<actor>@<version>.json    an earlier one, of which messages may wait; delete it when none does
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from workers.compatibility import breaks
from workers.errors import ConfigurationError
from workers.schemas import OURS, version_of

Schemas = Mapping[str, dict[str, Any]]
_FINISH: Final = (
    "keep the actor until no message of it waits (dutiful queues list), then remove it, and delete its contracts"
)
_NEW_ACTOR: Final = (
    "declare a new actor beside it, move the publishers to that one, and remove this one when no message of it waits"
)


@dataclass(frozen=True)
class Change:
    """What an export did about one actor.

    Attributes:
      version: the one that is exported now; empty: the actor is gone.
      change: "new", "changed", "told anew" (only words about it), "same" or "gone".
    """

    actor: str
    version: str
    change: Literal["new", "changed", "told anew", "same", "gone"]


@dataclass(frozen=True)
class Finding:
    """One thing to know before a release.

    Attributes:
      actor, version: the contract whose messages are meant.
      severity: "breaks": messages that wait would become dead letters; "note": nothing would.
      where: the argument; empty: the whole.
      why: what was, and what is now.
      rollout: what to do.
    """

    actor: str
    version: str
    severity: Literal["breaks", "note"]
    where: str
    why: str
    rollout: str


def export(schemas: Schemas, folder: Path) -> list[Change]:
    """Write the contract of each actor; one that has changed leaves the earlier one beside it.

    Raises:
      ConfigurationError: a file there can't be read as a contract.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changes = [_export(name, document, folder) for name, document in schemas.items()]
    gone = [Change(actor, "", "gone") for actor, _ in current(folder) if actor not in schemas]
    return changes + gone


def check(schemas: Schemas, folder: Path) -> list[Finding]:
    """Compare the actors of today with every contract that was exported.

    Raises:
      ConfigurationError: there is no export, or a file there can't be read as a contract.
    """
    found: list[Finding] = []
    exported = dict(current(folder))
    if not exported:
        raise ConfigurationError(
            "there is nothing to compare with", expected="dutiful contracts export, committed", received=str(folder)
        )
    for document in [*exported.values(), *_earlier(folder)]:
        found += _compared(document, schemas.get(str(document[OURS]["actor"])))
    for name, document in schemas.items():
        if name not in exported:
            found.append(_note(name, document, "it is not exported"))
        elif exported[name] != document:
            found.append(_note(name, document, "it differs from the export"))
    return found


def current(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The contracts that are exported as today's: (actor, schema).

    Raises:
      ConfigurationError: a file there can't be read as a contract.
    """
    found = [_read(path) for path in sorted(folder.glob("*.json")) if "@" not in path.stem]
    return [(str(document[OURS]["actor"]), document) for document in found]


def _earlier(folder: Path) -> list[dict[str, Any]]:
    return [_read(path) for path in sorted(folder.glob("*@*.json"))]


def _export(name: str, document: dict[str, Any], folder: Path) -> Change:
    path, version = folder / f"{name}.json", version_of(document)
    was = _read(path) if path.exists() else None
    if was == document:
        return Change(name, version, "same")
    (folder / f"{name}@{version}.json").unlink(missing_ok=True)  # it is today's again
    if was is not None and version_of(was) != version:
        path.rename(folder / f"{name}@{version_of(was)}.json")
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if was is None:
        return Change(name, version, "new")
    return Change(name, version, "changed" if version_of(was) != version else "told anew")


def _compared(document: dict[str, Any], now: dict[str, Any] | None) -> list[Finding]:
    about = document[OURS]
    actor, version = str(about["actor"]), str(about["version"])
    if now is None:
        return [Finding(actor, version, "breaks", "", "there is no such actor, and messages of it may wait", _FINISH)]
    found = [Finding(actor, version, "breaks", each.where, each.why, each.rollout) for each in breaks(document, now)]
    for what, why in (
        ("queue", "messages may wait in the queue of before, where no worker may look"),
        ("key", "a job that was sent twice, before and after, would run twice"),
    ):
        if about[what] != now[OURS][what]:
            said = f"its {what} was {about[what]}, and is {now[OURS][what]} now: {why}"
            found.append(Finding(actor, version, "breaks", "", said, _NEW_ACTOR))
    return found


def _note(name: str, document: dict[str, Any], why: str) -> Finding:
    rollout = "dutiful contracts export, and commit it; deploy the workers first, then what publishes"
    return Finding(name, version_of(document), "note", "", why, rollout)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        about = {name: document[OURS][name] for name in ("actor", "version", "queue", "key", "owner")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} can't be read", expected="what dutiful contracts export writes", received=repr(error)
        ) from None
    return {**document, OURS: about}
