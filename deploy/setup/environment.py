"""Makes the virtual environment hold exactly what the lock file says."""

# ruff: noqa: T201, S603  it speaks to a person; no command comes from outside
from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

from deploy.setup.system import CHECKOUT, CannotInstall

if TYPE_CHECKING:
    from pathlib import Path

LOCK = CHECKOUT / "requirements-dev.lock"
PROJECT = CHECKOUT / "pyproject.toml"


def can_make_one() -> bool:
    """Tell whether this Python brings venv and pip; Debian keeps them in a package of their own."""
    wanted = "import ensurepip, venv"
    return subprocess.run([sys.executable, "-c", wanted], capture_output=True, check=False).returncode == 0


def is_current(folder: Path) -> bool:
    """Tell whether the environment works, fits the Python asked for, and was filled from today's lock file."""
    stamp = folder / "dutiful.lock-hash"
    return stamp.is_file() and stamp.read_text() == _fingerprint() and _runs(folder)


def fill(folder: Path) -> None:
    """Create the environment where it is missing, and install what the lock file names, hashes checked."""
    if not _runs(folder):
        print(f"Creating {folder.name} with Python {sys.version.split()[0]} ...", flush=True)
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
    python = str(folder / "bin" / "python")
    print(f"Installing Python packages into {folder.name} ...", flush=True)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    _run(*pip, "--require-hashes", "-r", str(LOCK))
    _run(*pip, "--no-deps", "--no-build-isolation", "-e", str(CHECKOUT))
    (folder / "dutiful.lock-hash").write_text(_fingerprint())


def _runs(folder: Path) -> bool:
    """Tell whether the environment's Python works and has the version of the one that runs this."""
    python = folder / "bin" / "python"
    if not python.exists():
        return False
    wanted = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    return subprocess.run([str(python), "-c", wanted], capture_output=True, check=False).returncode == 0


def _fingerprint() -> str:
    return hashlib.sha256(LOCK.read_bytes() + PROJECT.read_bytes()).hexdigest()


def _run(*command: str) -> None:
    status = subprocess.run(command, check=False, cwd=CHECKOUT).returncode
    if status != 0:
        raise CannotInstall(
            f"`{' '.join(command)}` ended with status {status}; 0 was expected.\n"
            f"  What it said stands above. It is safe to say the same command again."
        )
