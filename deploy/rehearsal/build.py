"""Builds releases as folders: the working tree's packages with small folders laid over them."""

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from alembic.script import ScriptDirectory

from deploy.local.folders import CHECKOUT

PACKAGES = ("workers", "actors", "scheduling")
OVERLAYS = Path(__file__).parent / "releases"
MIGRATIONS = (Path("workers/store/migrations"), Path("actors/migrations"))
REVISION = "REVISION"
"""The file in which a release says what it is called."""
JOBS = "\nfrom actors import rehearsal  # noqa: E402, F401\n"
HEAD = re.compile(r'^down_revision = "HEAD"$', re.MULTILINE)


def build(folder: Path, name: str, overlays: Sequence[str]) -> str:
    """Build a release and return the digest of its files.

    Parameters:
      folder: where; what was there before goes.
      name: what the release calls itself in metrics and `dutiful status`.
      overlays: folders of releases/, later ones on top.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(CHECKOUT / package, folder / package)
    heads = {place: ScriptDirectory(folder / place).get_current_head() for place in MIGRATIONS}
    for overlay in overlays:
        shutil.copytree(OVERLAYS / overlay, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for place, head in heads.items():
        for script in (folder / place / "versions").glob("9*.py"):
            script.write_text(HEAD.sub(f'down_revision = "{head}"', script.read_text()))
    with (folder / "actors/__init__.py").open("a") as module:
        module.write(JOBS)
    (folder / REVISION).write_text(name)
    return digest(folder)


def digest(folder: Path) -> str:
    """Return what tells one tree of Python files from another."""
    found = hashlib.sha256()
    for path in _files(folder):
        found.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def changed(one: Path, other: Path) -> list[str]:
    """Return which files are not the same in two releases."""
    texts = [{str(path.relative_to(place)): path.read_bytes() for path in _files(place)} for place in (one, other)]
    return sorted(name for name in texts[0].keys() | texts[1].keys() if texts[0].get(name) != texts[1].get(name))


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.rglob("*.py"))


def point(link: Path, release: Path) -> None:
    """Let a service's link lead to a release from its next start on; there is no moment without one."""
    link.parent.mkdir(parents=True, exist_ok=True)
    draft = link.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.symlink_to(release)
    draft.replace(link)
