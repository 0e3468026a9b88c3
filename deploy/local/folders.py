"""Knows where a stack keeps its files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = CHECKOUT / "docker-compose.yml"
DEFAULT_RUN_FOLDER = CHECKOUT / ".run" / "local"


@dataclass(frozen=True)
class Folders:
    """The run folder and what lies in it."""

    run: Path

    @property
    def record(self) -> Path:
        """Say who runs the stack, and where its ports are."""
        return self.run / "stack.json"

    @property
    def order(self) -> Path:
        """Say what was asked for: compose file, services, overrides, ports."""
        return self.run / "order.json"

    @property
    def passwords(self) -> Path:
        """Hold the passwords that this stack's data was made with, where .env had none."""
        return self.run / "passwords.env"

    @property
    def lock(self) -> Path:
        """Let one process at a time start or stop the stack."""
        return self.run / "stack.lock"

    @property
    def logs(self) -> Path:
        """Hold what the services write."""
        return self.run / "logs"

    @property
    def mark(self) -> str:
        """Name this stack in the environment of its processes."""
        return f"{self.run}#"

    @property
    def outside(self) -> Path:
        """Hold what can't lie in the run folder: sockets, whose paths must be short, and files for another user."""
        name = hashlib.sha256(str(self.run).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"dutiful-{os.geteuid()}-{name}"

    @property
    def socket(self) -> Path:
        """Reach the supervisor."""
        return self.outside / "control"

    def service(self, name: str) -> Path:
        """Return where a service's configuration lies."""
        return self.run / name

    def log(self, name: str) -> Path:
        """Return where a service's output goes."""
        return self.logs / f"{name}.log"

    def volume(self, name: str, *, for_another_user: bool) -> Path:
        """Return where a named volume lies: in the run folder, unless the user who needs it can't go there."""
        inside = self.run / "volumes" / name
        return self.outside / name if for_another_user and not _open_to_all(self.run) else inside

    def create(self) -> None:
        """Create the folders; the one outside must be ours, since anyone can make folders where it lies."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self.outside.mkdir(mode=0o711, exist_ok=True)
        found = self.outside.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(f"{self.outside} belongs to somebody else; remove it")
        self.outside.chmod(0o711)

    def remove_outside_if_empty(self) -> None:
        """Leave nothing outside the run folder unless data lies there."""
        with contextlib.suppress(OSError):
            self.outside.rmdir()

    def remove(self) -> None:
        """Remove everything, data included."""
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.rmtree(self.outside, ignore_errors=True)


def _open_to_all(folder: Path) -> bool:
    """Tell whether every user may pass through a folder and those above it."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))
