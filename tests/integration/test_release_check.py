"""A commit is released only when everything holds, and what held is on record."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import until

from deploy.local.folders import CHECKOUT

NAMES = ("lint", "staging", "wheels", "tests", "integration", "rehearsal")
WHEELS = ".run/release/1.2.0/wheels"
SUMMED = f"sh -c 'echo wheels >> ran; mkdir -p {WHEELS}; echo abc  x.whl > {WHEELS}/SHA256SUMS; echo fine'"
CHANGES = "# Changelog\n\n## 1.2.0 - 2026-01-31\n\n- Jobs are faster.\n\n## 1.1.0 - 2025-12-31\n\n- Older.\n"


@pytest.fixture
def repository(tmp_path):
    """A small repository with one release behind it."""
    root = tmp_path / "repository"
    root.mkdir()
    (root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.0"\n')
    (root / "CHANGELOG.md").write_text(CHANGES)
    (root / ".gitignore").write_text(".run/\nran\n")
    git(root, "init", "-q")
    commit(root)
    git(root, "tag", "v1.1.0")
    (root / "jobs.py").write_text("x = 1\n")
    commit(root)
    return root


def git(root, *words):
    who = ["-c", "user.name=t", "-c", "user.email=t@t.example"]
    return subprocess.run(["git", *who, *words], cwd=root, capture_output=True, text=True, check=True).stdout


def commit(root):
    git(root, "add", "-A")
    git(root, "commit", "-qm", "a change")


def start(root, *words, figure="wait p99: 2 s before, 1 s now", **steps):
    """Start it with short commands in place of the long ones; each writes its name into the file `ran`."""
    commands = {name: f"sh -c 'echo {name} >> ran; echo fine'" for name in NAMES} | steps
    stand_ins = [word for name, command in commands.items() for word in ("--step", f"{name}={command}")]
    told = ["--repository", str(root), "--reason", "it is ready", "--figure", figure]
    identity = {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t.example", "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.release", *told, *stand_ins, *words],
        cwd=CHECKOUT, env=identity, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=hear_interrupts,  # noqa: PLW1509  it takes no lock that another thread could hold
    )  # fmt: skip


def hear_interrupts():
    """A shell that runs the tests in the background has made them deaf to Ctrl-C, and so what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def check(root, *words, **more):
    """Run it to its end: exit status, and what it said."""
    process = start(root, *words, **more)
    said = process.communicate(timeout=60)[0]
    return process.returncode, said


def ran(root):
    return (root / "ran").read_text().split() if (root / "ran").exists() else []


def tags(root):
    return git(root, "tag").split()


def evidence(root):
    return json.loads((root / ".run/release/1.2.0/evidence.json").read_text())


def test_a_commit_for_which_everything_holds_is_tagged_with_its_note(repository):
    status, said = check(repository)

    assert status == 0, said
    assert ran(repository) == list(NAMES)
    note = git(repository, "tag", "--list", "--format=%(contents)", "v1.2.0")
    for part in ("dutiful 1.2.0", "Reason: it is ready", "p99: 2 s before, 1 s now", "jobs.py", "- Jobs are faster."):
        assert part in note, note
    assert "Command: make release-check" in note
    assert "Rollback: git checkout v1.1.0" in note
    assert "Older" not in note
    assert note.strip() == (repository / ".run/release/1.2.0/note.md").read_text().strip()
    shown = evidence(repository)
    assert shown["commit"] == git(repository, "rev-parse", "HEAD").strip()
    assert list(shown["steps"]) == [*NAMES, "tag"]
    for step in shown["steps"].values():
        assert step["passed"]
        assert all(step[said] for said in ("owner", "commands", "expected", "rollback", "began", "output"))


def test_a_step_that_fails_is_on_record_and_nothing_is_tagged_and_what_passed_is_not_run_again(repository):
    status, said = check(repository, tests="sh -c 'echo the reason; exit 3'")

    assert status == 1
    assert "not released: tests failed" in said
    assert tags(repository) == ["v1.1.0"]
    assert (
        evidence(repository)["steps"]["tests"] | {"status": 3, "passed": False, "output": ["the reason"]}
        == (evidence(repository)["steps"]["tests"])
    )

    status, said = check(repository)

    assert status == 0, said
    assert ran(repository) == list(NAMES), "lint and staging had passed on this commit"
    assert "lint: has passed on this commit" in said


def test_what_passed_on_another_commit_does_not_count(repository):
    check(repository, rehearsal="false")
    (repository / "jobs.py").write_text("x = 2\n")
    commit(repository)
    check(repository)

    assert ran(repository) == [*NAMES[:5], *NAMES]


def test_a_tree_with_changes_is_never_tagged(repository):
    (repository / "new.py").write_text("")
    status, said = check(repository)
    assert (status, ran(repository)) == (1, [])
    assert "new.py" in said
    (repository / "new.py").unlink()

    status, said = check(repository, lint="sh -c 'echo x >> jobs.py'")

    assert status == 1
    assert "jobs.py" in said
    assert tags(repository) == ["v1.1.0"]


@pytest.mark.parametrize("heading", ["## 1.2.0 - unreleased", "## 1.3.0 - 2026-01-31"])
def test_a_version_that_the_changelog_does_not_have_is_refused(repository, heading):
    (repository / "CHANGELOG.md").write_text(CHANGES.replace("## 1.2.0 - 2026-01-31", heading))
    commit(repository)
    status, said = check(repository)

    assert (status, ran(repository), tags(repository)) == (1, [], ["v1.1.0"])
    assert "CHANGELOG.md does not have version 1.2.0" in said


def test_a_version_is_released_once(repository):
    git(repository, "tag", "v1.2.0")
    status, said = check(repository)

    assert (status, ran(repository)) == (1, [])
    assert "was released before" in said


def test_a_step_can_be_tried_alone_and_counts_when_the_release_is_made(repository):
    status, said = check(repository, "--only", "wheels", wheels=SUMMED)

    assert status == 0, said
    assert "Still to pass: lint, staging, tests, integration, rehearsal" in said
    assert tags(repository) == ["v1.1.0"]
    assert check(repository, "--only", "deploy")[0] == 1

    status, said = check(repository, wheels=SUMMED)

    assert status == 0, said
    assert sorted(ran(repository)) == sorted(NAMES)
    assert "Wheel: x.whl, sha256 abc" in git(repository, "tag", "--list", "--format=%(contents)", "v1.2.0")


def test_one_that_is_stopped_says_so_and_leaves_no_command_running(repository):
    pid = repository / "ran"
    process = start(repository, lint="sh -c 'echo $$ > ran; exec sleep 60'")
    until(lambda: pid.exists() and pid.read_text().strip(), what="lint did not begin")
    process.send_signal(signal.SIGINT)  # to it alone
    said = process.communicate(timeout=30)[0]

    assert process.returncode == 130
    assert "not released: stopped" in said
    assert "Traceback" not in said
    until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists(), what="the command was left")
    assert tags(repository) == ["v1.1.0"]


def test_a_dry_run_says_everything_and_does_nothing(repository):
    status, said = check(repository, "--dry-run")

    assert status == 0, said
    assert all(f"would run {name}" in said for name in NAMES)
    assert "Rollback: git checkout v1.1.0" in said
    assert (ran(repository), tags(repository)) == ([], ["v1.1.0"])
    assert not (repository / ".run").exists()


def test_a_release_without_a_figure_or_with_a_step_that_is_none_is_refused(repository):
    assert check(repository, figure=" ")[0] == 2
    status, said = check(repository, deploy="true")
    assert status == 1
    assert ", ".join(NAMES) in said
