"""Recognises processes again, finds their children, and makes sure that none outlives the stack.

Linux answers from /proc and prctl. Elsewhere `ps` answers, and orphans are found by their process group only.
"""

# ruff: noqa: S603  no shell, and no words from outside
from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINUX = sys.platform == "linux"
PROC = Path("/proc")
MARK = "LOCAL_STACK_MARK"
"""Every process of a stack carries this variable: run folder, #, service."""

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Identity:
    """A process beyond doubt: its number, and when it started, since numbers are used again."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Identity:
        """Return who has this number now."""
        return cls(pid, start_time(pid) or "gone")

    @classmethod
    def read(cls, entry: dict[str, Any] | None) -> Identity | None:
        """Return the identity that was written down, if one was."""
        return cls(int(entry["pid"]), str(entry["started"])) if entry else None

    def is_alive(self) -> bool:
        """Tell whether this very process still runs."""
        return start_time(self.pid) == self.started


def start_time(pid: int) -> str | None:
    """Return when a process started, in the system's own notation; None for one that is gone, reaped or not."""
    if LINUX:
        fields = _stat(pid)
        return None if fields is None or fields[0] in "ZX" else fields[19]
    state, _, started = _ps("-o", "stat=,lstart=", "-p", str(pid)).strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def children(pid: int) -> list[int]:
    """Return the live children of a process, the oldest first."""
    if LINUX:
        parents = _parents()
        found = [
            (int(fields[19]), child) for child, fields in parents.items() if fields[1] == str(pid) and fields[0] != "Z"
        ]
        return [child for _, child in sorted(found)]
    pairs = [line.split() for line in _ps("-A", "-o", "pid=,ppid=").splitlines()]
    return sorted(int(child) for child, parent in pairs if parent == str(pid))


def descendants(pid: int) -> list[int]:
    """Return all processes below one, children before grandchildren."""
    found = [pid]
    for known in found:
        found.extend(children(known))
    return found[1:]


def marked(mark: str) -> list[int]:
    """Return the processes that carry a mark, or begin with it where it ends in #."""
    if not LINUX:
        return []
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(each == wanted or (mark.endswith("#") and each.startswith(wanted)) for each in variables):
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def kill(pids: list[int]) -> None:
    """Kill processes, those that still exist."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_group(group: int) -> None:
    """Kill a whole process group, if it still exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (Linux only)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int) -> None:
    """Receive a signal when the parent ends (Linux only)."""
    _prctl(PR_SET_PDEATHSIG, number)


def _ps(*options: str) -> str:
    return subprocess.run(["/bin/ps", *options], capture_output=True, text=True, check=False).stdout


def _prctl(option: int, value: int) -> None:
    if LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat that follow the program's name: state, parent, and so on."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _parents() -> dict[int, list[str]]:
    stats = {int(entry.name): _stat(int(entry.name)) for entry in PROC.glob("[0-9]*")}
    return {pid: fields for pid, fields in stats.items() if fields}
