"""Health is told in files: each worker process says what is wrong with it, and the exposition collects that."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

Question = Literal["ready", "progress"]


def write_whole(path: Path, text: str) -> None:
    """Write a file that nobody ever sees half written."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(text)
    unfinished.replace(path)


def say(directory: Path, *, ready: list[str], progress: list[str]) -> None:
    """Leave what is wrong with this process.

    Parameters:
      ready: why it can't take jobs now.
      progress: why jobs that wait here don't get on.
    """
    write_whole(_file(directory), json.dumps({"ready": ready, "progress": progress}))


def fall_silent(directory: Path) -> None:
    """Remove what was true of this process only while it lived."""
    _file(directory).unlink(missing_ok=True)


def reasons(directory: Path, question: Question) -> list[str]:
    """What the worker processes of this folder have said, each with its pid."""
    found = []
    for path in sorted(directory.glob("signs-*.json")):
        pid = path.stem.removeprefix("signs-")
        with suppress(FileNotFoundError):  # it has just left in order
            found += [f"worker {pid}: {reason}" for reason in json.loads(path.read_text())[question]]
    return found


def _file(directory: Path) -> Path:
    return directory / f"signs-{os.getpid()}.json"
