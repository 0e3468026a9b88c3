"""Checks whether this commit can be released, then tags it: `make release-check`.

    python -m deploy.release --reason "why" --figure "what got better, from what to what" [--dry-run]

Exit status 0: tagged (or, with --dry-run, it could be tried), 1: something does not hold, 2: wrong usage.
"""

# ruff: noqa: T201, S603  it speaks to a person; no shell, and the commands are the operator's own
import argparse
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from deploy.local.folders import CHECKOUT
from deploy.release.errors import ReleaseError
from deploy.release.evidence import Evidence
from deploy.release.note import Reason, note
from deploy.release.repository import Repository
from deploy.release.steps import Step, steps, with_other_commands

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


def release(options: argparse.Namespace) -> int:
    """Check, keep the evidence, write the note, tag."""
    repository = Repository(options.repository.resolve())
    planned = with_other_commands(steps(options.staging), dict(options.step))
    repository.check_clean()
    repository.check_untagged()
    folder = repository.root / ".run" / "release" / repository.version
    commit = repository.commit
    command = shlex.join(["make", "release-check", f"REASON={options.reason}", f"FIGURE={options.figure}"])
    text = note(
        repository,
        Reason(options.reason, options.figure),
        command,
        [each for step in planned for each in step.commands],
    )
    if options.dry_run:
        for step in planned:
            print(f"would run {step.name} ({step.owner}): {'; '.join(step.commands)}\n  expected: {step.expected}")
        print(f"would tag {commit[:12]} as {repository.tag}:\n\n{text}")
        return FINE
    evidence = Evidence.open(folder / "evidence.json", repository.version, commit)
    for step in planned:
        if evidence.has_passed(step):
            print(f"-- {step.name}: has passed on this commit", flush=True)
        elif not run(step, evidence, repository.root):
            print(f"not released: {step.name} failed; expected: {step.expected}. Evidence: {evidence.file}")
            return WRONG
    repository.check_clean()  # a step may have written something
    if repository.commit != commit:
        raise ReleaseError("another commit was checked out meanwhile", expected=commit, received=repository.commit)
    (folder / "note.md").write_text(text)
    repository.set_tag(text)
    undo = f"git tag --delete {repository.tag}"
    tagging = Step("tag", "operations", (f"git tag {repository.tag}",), "the commit has the tag, with the note", undo)
    evidence.add(tagging, status=0, began=datetime.now(UTC).isoformat(timespec="seconds"), seconds=0.0, output=text)
    print(f"released as {repository.tag}; publish it with: git push origin {repository.tag}\nback: {undo}\n\n{text}")
    return FINE


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
    parser.add_argument("--step", type=pair, action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--repository", type=Path, default=CHECKOUT)
    try:
        return release(parser.parse_args())
    except ReleaseError as error:
        print(f"not released: {error}")
        return WRONG


if __name__ == "__main__":
    sys.exit(main())
