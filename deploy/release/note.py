"""Writes the release note: what, why, which files, with which command, what got better, and the way back."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from deploy.local import compose
from deploy.local.folders import COMPOSE_FILE
from deploy.release.repository import Repository
from deploy.release.staging import OURS
from deploy.setup.passwords import needed


@dataclass(frozen=True)
class Reason:
    """Why there is a release; each is a sentence of whoever makes it.

    Attributes:
      why: the reason.
      figure: what got better, before and after, and how it was measured.
    """

    why: str
    figure: str


def note(
    repository: Repository, reason: Reason, command: str, commands: Sequence[str], wheels: Sequence[str] = ()
) -> str:
    """Return the note.

    Parameters:
      command: that makes the release.
      commands: that were its steps.
      wheels: that were built, each with its digest; none: not yet.
    """
    files, before = repository.files_touched(), repository.previous()
    folders = Counter(PurePath(name).parts[0] for name in files)
    touched = ", ".join(f"{folder} ({count})" for folder, count in sorted(folders.items()))
    since = f"since {before}" if before else "the first release: all of them"
    lines = [
        f"dutiful {repository.version}",
        "",
        f"Reason: {reason.why}",
        f"Figure that improved: {reason.figure}",
        f"Commit: {repository.commit}",
        f"Files touched, {since}: {len(files)}: {touched}",
        f"Command: {command}",
        *(f"  checked by: {each}" for each in commands),
        *(f"Wheel: {each}" for each in wheels),
        f"Rollback: {rollback(before)}",
        "",
        repository.changes(),
    ]
    return "\n".join(lines) + "\n"


def rollback(before: str | None) -> str:
    """Return the command that brings the release before back; the schema stays as it is."""
    if before is None:
        return "there is no release before this one; docker compose down stops it, and its data stays"
    services = " ".join(deployed())
    return f"git checkout {before} && DUTIFUL_REVISION={before} docker compose up --build --detach --no-deps {services}"


def deployed() -> list[str]:
    """Return the services of docker-compose.yml that run this project's image until they are replaced."""
    services = compose.read(COMPOSE_FILE, own=dict.fromkeys(needed(COMPOSE_FILE), "unused"))
    return [name for name, service in services.items() if service.image == OURS and service.restart != "no"]
