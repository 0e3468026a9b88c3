"""Checks whether this commit can be released, then tags it: `make release-check`.

    python -m deploy.release --reason "why" --figure "what got better, from what to what" [--dry-run] [--only STEP]

Exit status 0: tagged (with --only: that step holds; with --dry-run: it could be tried), 1: something does not hold,
2: wrong usage.
"""

# ruff: noqa: T201, S603  it speaks to a person; no shell, and the commands are the operator's own
import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from deploy.local.folders import CHECKOUT
from deploy.release.errors import ReleaseError
from deploy.release.evidence import Evidence
from deploy.release.note import Reason, note
from deploy.release.repository import Repository
from deploy.release.steps import Step, check_known, steps, with_other_commands
from deploy.release.wheels import wheels_in

FINE, WRONG = 0, 1


def run(step: Step, evidence: Evidence, folder: Path) -> bool:
    """Run a step's commands until one fails; show what they say, keep the end of it."""
    print(f"-- {step.name}: {step.expected}", flush=True)
    began, clock, said, status = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic(), [], 0
    for command in step.commands:
        print(f"   {command}", flush=True)
        process = subprocess.Popen(
            shlex.split(command), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        with process:
            for line in process.stdout or ():
                said.append(line)
                print(f"   | {line}", end="", flush=True)
        status = process.returncode
        if status != 0:
            break
    evidence.add(step, status=status, began=began, seconds=time.monotonic() - clock, output="".join(said))
    return status == 0


def check(planned: Sequence[Step], evidence: Evidence, folder: Path) -> bool:
    """Run the steps that have not passed on this commit, until one fails."""
    for step in planned:
        if evidence.has_passed(step):
            print(f"-- {step.name}: has passed on this commit", flush=True)
        elif not run(step, evidence, folder):
            print(f"not released: {step.name} failed; expected: {step.expected}. Evidence: {evidence.file}")
            return False
    return True


def release(options: argparse.Namespace) -> int:
    """Check, keep the evidence, write the note, tag."""
    repository = Repository(options.repository.resolve())
    place = Path(".run/release") / repository.version
    folder = repository.root / place
    planned = with_other_commands(steps(options.staging, place / "wheels"), dict(options.step))
    check_known(planned, options.only)
    repository.check_clean()
    repository.check_untagged()
    commit = repository.commit
    write = partial(
        note,
        repository,
        Reason(options.reason, options.figure),
        shlex.join(["make", "release-check", f"REASON={options.reason}", f"FIGURE={options.figure}"]),
        [each for step in planned for each in step.commands],
    )
    text = write()  # what is missing in CHANGELOG.md is said before the long steps
    if options.dry_run:
        for step in planned:
            print(f"would run {step.name} ({step.owner}): {'; '.join(step.commands)}\n  expected: {step.expected}")
        print(f"would tag {commit[:12]} as {repository.tag}:\n\n{text}")
        return FINE
    evidence = Evidence.open(folder / "evidence.json", repository.version, commit)
    if not check(
        [step for step in planned if not options.only or step.name in options.only], evidence, repository.root
    ):
        return WRONG
    if options.only:
        left = [step.name for step in planned if not evidence.has_passed(step)]
        print(f"not released: these alone were asked for. Still to pass: {', '.join(left) or 'nothing'}")
        return FINE
    repository.check_clean()  # a step may have written something
    if repository.commit != commit:
        raise ReleaseError("another commit was checked out meanwhile", expected=commit, received=repository.commit)
    tag(repository, write(wheels=wheels_in(folder / "wheels")), evidence)
    return FINE


def tag(repository: Repository, text: str, evidence: Evidence) -> None:
    """Tag the commit with the note, and say how to take that back."""
    evidence.file.with_name("note.md").write_text(text)
    repository.set_tag(text)
    undo = f"git tag --delete {repository.tag}"
    step = Step("tag", "operations", (f"git tag {repository.tag}",), "the commit has the tag, with the note", undo)
    evidence.add(step, status=0, began=datetime.now(UTC).isoformat(timespec="seconds"), seconds=0.0, output=text)
    print(f"released as {repository.tag}; publish it with: git push origin {repository.tag}\nback: {undo}\n\n{text}")


def pair(text: str) -> tuple[str, str]:
    """Read NAME=COMMAND."""
    name, equals, command = text.partition("=")
    if not equals or not command.strip():
        raise argparse.ArgumentTypeError(f"expected NAME=COMMAND; received {text!r}")
    return name, command


def sentence(text: str) -> str:
    """Refuse an empty reason."""
    if not text.strip():
        raise argparse.ArgumentTypeError("say it in a sentence; received nothing")
    return text.strip()


def main() -> int:
    """Do it; every refusal is one readable message."""
    parser = argparse.ArgumentParser(prog="python -m deploy.release", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reason", type=sentence, required=True, help="why there is a release")
    parser.add_argument("--figure", type=sentence, required=True, help="what got better, from what to what")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; run and tag nothing")
    parser.add_argument("--staging", type=Path, default=Path(".env"), help="the .env of the staging host")
    parser.add_argument("--only", action="append", default=[], metavar="STEP", help="try this one, and tag nothing")
    parser.add_argument("--step", type=pair, action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--repository", type=Path, default=CHECKOUT)
    try:
        return release(parser.parse_args())
    except ReleaseError as error:
        print(f"not released: {error}")
        return WRONG


if __name__ == "__main__":
    sys.exit(main())
