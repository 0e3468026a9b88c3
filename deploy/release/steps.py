"""Lists what must hold before a release, each with its owner, its command, what is expected and the way back."""

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.release.errors import ReleaseError

BIN = Path(sys.executable).parent
NOTHING = "none needed: it changes nothing"


@dataclass(frozen=True)
class Step:
    """One step; its command ends with status 0 when it holds."""

    name: str
    owner: str
    commands: tuple[str, ...]
    expected: str
    rollback: str = NOTHING


def steps(staging: Path, wheels: Path) -> list[Step]:
    """Return the steps in their order, the quick ones first.

    Parameters:
      staging: the file with the variables of the staging host.
      wheels: the folder that gets the wheels.
    """
    python = f"{shlex.quote(str(BIN))}/python"
    tools = shlex.quote(str(BIN))
    checks = (f"{tools}/ruff check .", f"{tools}/ruff format --check .", f"{tools}/mypy", f"{tools}/lint-imports")
    return [
        Step("lint", "platform", checks, "no finding of style, types or import rules"),
        Step(
            "staging",
            "operations",
            (f"{python} -m deploy.release.staging {shlex.quote(str(staging))}",),
            "docker-compose.yml with the variables of staging gives settings that work, and no password is a default",
        ),
        Step(
            "wheels",
            "platform",
            (f"{python} -m deploy.release.wheels {shlex.quote(str(wheels))}",),
            "dutiful and dutiful-publisher: each the same when built again, and working where nothing else is",
            "none needed: nothing is published",
        ),
        Step(
            "tests",
            "platform",
            (f"{python} -m pytest -q -n 2 tests/unit tests/contract",),
            "all unit and contract tests pass",
        ),
        Step(
            "integration",
            "platform",
            (f"{python} -m pytest -q -n 4 --dist worksteal tests/integration tests/faults",),
            "one pass on real servers, without a failure",
            "none needed: its servers are its own, and gone afterwards",
        ),
        Step(
            "rehearsal",
            "operations",
            (f"{python} -m deploy.rehearsal",),
            "an upgrade and the way back under load: no job lost, doubled or charged (.run/rehearsal/report.txt)",
            "none needed: its stack is its own, and gone afterwards",
        ),
    ]


def check_known(known: Sequence[Step], names: Iterable[str]) -> None:
    """Raise ReleaseError when there is no step of such a name."""
    unknown = sorted(set(names) - {step.name for step in known})
    if unknown:
        raise ReleaseError(
            "there is no such step",
            expected=f"one of {', '.join(step.name for step in known)}",
            received=", ".join(unknown),
        )


def with_other_commands(known: Sequence[Step], others: Mapping[str, str]) -> list[Step]:
    """Return the steps, some with another command; the evidence names the one that ran."""
    check_known(known, others)
    return [replace(step, commands=(others[step.name],)) if step.name in others else step for step in known]
