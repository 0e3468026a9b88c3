"""Stands above the supervisor and kills whatever is left of the stack when the supervisor ends, however it ends.

    python -m deploy.local.guardian RUN_FOLDER

It becomes the parent of every orphan of the stack (Linux), so nothing can slip away. The supervisor in turn ends the
stack when the guardian dies.
"""

# ruff: noqa: S603  no shell, and no words from outside
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from deploy.local import processes
from deploy.local.folders import CHECKOUT, Folders


def main() -> None:
    """Leave the caller, start the supervisor, outlive it."""
    if os.fork():
        os._exit(0)  # the caller need not wait for us, ever
    folders = Folders(Path(sys.argv[1]))
    processes.adopt_orphans()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    supervisor = subprocess.Popen([sys.executable, "-m", "deploy.local.supervisor", str(folders.run)], cwd=CHECKOUT)
    signal.signal(signal.SIGTERM, lambda *_: supervisor.terminate())
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if pid == supervisor.pid:
            supervisor.returncode = os.waitstatus_to_exitcode(status)
            break
    clear_away(folders)


def clear_away(folders: Folders) -> None:
    """Kill every process of the stack, until there is none."""
    if not processes.LINUX:
        _kill_recorded_groups(folders)
    while True:
        processes.kill(processes.descendants(os.getpid()) + processes.marked(folders.mark))
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            if not processes.marked(folders.mark):
                return


def _kill_recorded_groups(folders: Folders) -> None:
    record = json.loads(folders.record.read_text())
    for service in record.get("services", {}).values():
        if service["pid"]:
            processes.kill_group(service["pid"])


if __name__ == "__main__":
    main()
