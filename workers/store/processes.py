"""Processes of this host are told apart by pid and start time: a pid alone is used again."""

import os
import socket
import subprocess
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_DEAD = ("Z", "X", "x")  # a zombie has ended; only its parent has not asked for its status yet


@cache
def host() -> str:
    """The place in which a pid means one process: host name, boot, and pid namespace.

    The name alone is not enough: two containers may share it and still not see each other's processes.
    """
    parts = [socket.gethostname()]
    if _PROC.joinpath("self/stat").exists():
        parts.append(_PROC.joinpath("sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(_PROC.joinpath("self/ns/pid").readlink()))
    return " ".join(parts)


def started(pid: int) -> str:
    """When the process started, in the system's own words; empty if it has ended or can't be seen."""
    if _PROC.joinpath("self/stat").exists():
        return _started_by_proc(pid)
    return _started_by_ps(pid)


def is_running(pid: int, pid_started: str) -> bool:
    """Whether the process that had this pid and start time is running. In doubt, yes: its lease decides then."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's: it is there, and may hide its start time from us
    return not pid_started or started(pid) == pid_started


def _started_by_proc(pid: int) -> str:
    try:
        stat = _PROC.joinpath(str(pid), "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The second field is the command in brackets and may contain anything; fields 3 and 22 are counted from its end.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in _DEAD else fields[19]


def _started_by_ps(pid: int) -> str:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    found = subprocess.run(  # noqa: S603  a fixed command and a number
        command, capture_output=True, text=True, timeout=5, check=False, env={"PATH": "/bin:/usr/bin", "LC_ALL": "C"}
    )
    state, _, start = found.stdout.strip().partition(" ")
    return "" if state.startswith(_DEAD) else start.strip()
