"""Writes down what a rehearsal found, for people and for programs."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deploy.demo.checks import Check


@dataclass
class Step:
    """One step: what was done, how long it took, and what was seen."""

    name: str
    seconds: float = 0.0
    found: str = ""


@dataclass
class Report:
    """A rehearsal.

    Attributes:
      refused: why the upgrade was not finished; empty: it was.
      waits: p50, p99 and the longest wait of short jobs, in seconds, by the step in which they were sent.
      status: what `dutiful status --json` said, before and after the upgrade and after the way back.
      asked: which release was to answer, at the same moments.
    """

    releases: dict[str, str] = field(default_factory=dict)
    differ: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    waits: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    status: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    load: dict[str, float] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    refused: str = ""

    @property
    def passed(self) -> bool:
        """Whether the upgrade and the way back cost nothing."""
        return not self.refused and bool(self.checks) and all(check.holds for check in self.checks)

    @property
    def verdict(self) -> str:
        """How it went, in one line."""
        if self.refused:
            return f"FAILED: {self.refused}"
        broken = [check.what for check in self.checks if not check.holds]
        return f"FAILED: not so: {'; '.join(broken)}" if broken else "passed: nothing was lost, doubled or charged"

    def write(self, folder: Path) -> None:
        """Write report.json and report.txt."""
        document = asdict(self) | {"passed": self.passed, "verdict": self.verdict}
        document["checks"] = [check._asdict() for check in self.checks]
        (folder / "report.json").write_text(json.dumps(document, indent=1) + "\n")
        (folder / "report.txt").write_text("\n".join(self.lines()) + "\n")

    def lines(self) -> list[str]:
        """Return the report as people read it."""
        lines = [f"rehearsal: {self.verdict}", ""]
        lines += [f"release {name}: {digest}" for name, digest in self.releases.items()]
        lines += [f"they differ in: {', '.join(self.differ)}", ""]
        lines += [f"{step.seconds:7.1f} s  {step.name}{f': {step.found}' if step.found else ''}" for step in self.steps]
        lines += ["", "waits of short jobs, p50, p99, longest:"]
        lines += [
            f"  {p50:6.3f} {p99:6.3f} {longest:6.3f} s  {name}" for name, (p50, p99, longest) in self.waits.items()
        ]
        for moment, answer in self.status.items():
            lines += ["", f"the four questions {moment}: {answer.get('verdict')}"]
            for each in answer.get("answers", ()):
                lines.append(f"  {each['question']:<24} {each['verdict']:<9} {'; '.join(each['says'])}")
            lines += [f"  {each['number']}: {each['before']} → {each['now']}" for each in answer.get("changes", ())]
        lines.append("")
        for check in self.checks:
            lines.append(f"{'holds ' if check.holds else 'BROKEN'}  {check.what}: {check.found}")
        return lines
