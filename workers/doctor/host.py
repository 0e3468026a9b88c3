"""This host is looked at here: what kind of volume SQLite is on, room on disks, and the folder of the counters."""

import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Final

from workers.doctor.line import Line, ok, wrong

LEAST_FREE_BYTES: Final = 256 * 1024 * 1024
_MOUNTS: Final = Path("/proc/self/mounts")
# SQLite's locks and its shared memory don't work, or not always, on what several hosts see.
_SHARED: Final = re.compile(
    r"nfs\d?|cifs|smb\w*|smbfs|9p|ceph|lustre|glusterfs|gfs2|ocfs2|afs|ncpfs|beegfs|virtiofs|vboxsf|fuse\..+"
)


def volume(database: Path, mounts: str | None = None) -> list[Line]:
    """Whether the file of an SQLite store is on a disk of this host.

    Parameters:
      mounts: what /proc/self/mounts says; None: read it.
    """
    text = mounts if mounts is not None else _read_mounts()
    kind = filesystem(database, text)
    if kind is None:
        return [
            Line(
                "volume",
                "unknown",
                "this system does not tell what is mounted",
                mend=f"df -T {shlex.quote(str(nearest(database)))} # a network volume is none for SQLite",
            )
        ]
    if not _SHARED.fullmatch(kind):
        return ok("volume", f"{database} is on {kind}, a disk of this host")
    return [
        wrong(
            "volume",
            "the store's SQLite file is on a shared or network volume, where its locks don't hold",
            expected="a local disk, or PostgreSQL",
            received=f"{database} on {kind}",
            mend="export DUTIFUL_STORE__URL=sqlite:////PATH/ON/A/LOCAL/DISK # or that of a PostgreSQL",
        )
    ]


def filesystem(path: Path, mounts: str) -> str | None:
    """The kind of file system that a path is on; None where it can't be told."""
    resolved = path.resolve()
    found, length = None, -1
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 3:  # noqa: PLR2004  device, place, kind
            continue
        place = Path(words[1].replace("\\040", " "))
        if (resolved == place or place in resolved.parents) and len(place.parts) >= length:
            found, length = words[2], len(place.parts)  # a later one covers an earlier one
    return found


def _read_mounts() -> str:
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def room(folders: dict[str, Path], least: int = LEAST_FREE_BYTES) -> list[Line]:
    """Whether there is room where this host writes.

    Parameters:
      folders: by what is in them.
      least: bytes that must be free.
    """
    found, seen = [], []
    for what, folder in folders.items():
        there = nearest(folder)
        free = shutil.disk_usage(there).free
        seen.append(f"{free // 2**20} MB for {what}")
        if free < least:
            found.append(
                wrong(
                    "disk",
                    f"too little room for {what}",
                    expected=f"{least // 2**20} MB free at {there}",
                    received=f"{free // 2**20} MB",
                    mend=f"du -xh {shlex.quote(str(there))} | sort -h | tail # what takes room there: make some",
                )
            )
    return found or ok("disk", ", ".join(seen))


def nearest(path: Path) -> Path:
    """The path itself, or the folder above it that exists."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def counters(directory: Path | None) -> list[Line]:
    """Whether worker processes can leave their counters where they are told to."""
    mend = "unset DUTIFUL_METRICS__DIRECTORY" if directory else "export TMPDIR=/PATH/OF/A/FOLDER # where it may write"
    try:
        folder = directory or Path(tempfile.gettempdir())
    except FileNotFoundError:  # a read-only system, and no volume for what is temporary
        folder = Path("/tmp")  # noqa: S108  the first that was looked at
    there = nearest(folder)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ok("metrics directory", str(folder))
    return [
        wrong(
            "metrics directory",
            "counters can't be left there, so that no worker would start",
            expected="a folder that this user may write, or can make",
            received=f"{folder}: {there} is {'not writable' if there.is_dir() else 'no folder'}",
            mend=mend,
        )
    ]
