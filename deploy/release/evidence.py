"""Keeps in one file what each step of a release showed, so that a step that has passed is not run twice."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from deploy.release.steps import Step

LAST_LINES = 20


@dataclass
class Evidence:
    """What was shown about one commit.

    Attributes:
      file: where it is kept; written anew after each step.
      commit: evidence about another commit does not count.
      steps: by name: owner, commands, expected and rollback, and passed, status, began, seconds, output.
    """

    file: Path
    version: str
    commit: str
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, file: Path, version: str, commit: str) -> Self:
        """Return what is known about this commit."""
        try:
            known = json.loads(file.read_text())
        except (FileNotFoundError, ValueError):
            known = {}
        steps = known.get("steps", {}) if known.get("commit") == commit else {}
        return cls(file, version, commit, steps)

    def has_passed(self, step: Step) -> bool:
        """Tell whether this very step, with these commands, has passed on this commit."""
        known = self.steps.get(step.name, {})
        return bool(known.get("passed")) and known.get("commands") == list(step.commands)

    def add(self, step: Step, *, status: int, began: str, seconds: float, output: str) -> None:
        """Write down how a step ended."""
        self.steps[step.name] = {
            **asdict(step),
            "commands": list(step.commands),
            "passed": status == 0,
            "status": status,
            "began": began,
            "seconds": round(seconds, 1),
            "output": output.splitlines()[-LAST_LINES:],
        }
        self._write()

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".draft")
        draft.write_text(
            json.dumps({"version": self.version, "commit": self.commit, "steps": self.steps}, indent=1) + "\n"
        )
        draft.replace(self.file)
