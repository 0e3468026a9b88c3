"""Runs `dutiful` as people type it, in a process of its own with an environment of its own.

    done = dutiful("actors", "list", environment=unset() | {"DUTIFUL_STORE__URL": url})
    done.returncode, done.stdout, done.stderr

To load Python's packages takes most of such a process's time. So they are forked from one that has loaded these, which
has run nothing of ours, and they begin where the command on the path begins. tests/contract/test_readme.py runs the
commands on the path themselves.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess

PACKAGES = [
    "alembic.command",
    "dramatiq",
    "httpx",
    "pika",
    "psycopg",
    "pydantic_settings",
    "rich.table",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.orm",
    "structlog",
    "typer",
]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(PACKAGES)
OURS = ("DUTIFUL_", "SITE_")
PR_SET_PDEATHSIG = 1


def unset():
    """The environment without what a shell may have set for a site of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


def dutiful(*words, environment, folder=None, stdin="", timeout=60):
    """Run `dutiful WORDS` to its end; the environment is all that it is told."""
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name, each) for each in ("stdin", "stdout", "stderr")]
        for file in files:
            file.write_text(stdin if file.name == "stdin" else "")
        process = FORKS.Process(target=become, args=(words, environment, folder or Path.cwd(), files))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError(f"dutiful {' '.join(words)} took over {timeout} s: {files[2].read_text()}")
        return CompletedProcess(words, process.exitcode, files[1].read_text(), files[2].read_text())


def end_with_the_parent():
    """Have this process stopped, with those that it starts, should its parent be killed (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def become(words, environment, folder, files):
    """Make of this process the command that a shell would have started."""
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_RDWR | os.O_APPEND), number)
    sys.stdin = os.fdopen(0)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.dont_write_bytecode = True  # a module that a test writes twice in a second would be read once
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)  # the system's own
    os.chdir(folder)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = [str(Path(sys.executable).with_name("dutiful")), *words]
    sys.exit(import_module("workers.cli").main())
