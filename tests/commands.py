"""Runs `dutiful` as people type it: each time a process of its own, with an environment and a folder of its own.

    done = dutiful("actors", "list", environment=unset() | {"DUTIFUL_STORE__URL": url})
    done.returncode, done.stdout, done.stderr

To load Python's packages takes four fifths of such a process's time. So the processes are forked from one that has
loaded them, which has run nothing of ours, and they begin where the command on the path begins. The command on the path
itself is run by tests/contract/test_readme.py.
"""

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from subprocess import CompletedProcess

PACKAGES = [
    "alembic.command",
    "dramatiq.cli",
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


def become(words, environment, folder, files):
    """Make of this process what the shell would have started."""
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_RDWR), number)
    sys.stdin = os.fdopen(0)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["dutiful", *words]
    from workers.cli import main  # noqa: PLC0415  here, and not in the process that tests run in

    main()
