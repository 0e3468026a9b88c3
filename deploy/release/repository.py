"""Asks git what is about to be released, and tags it."""

# ruff: noqa: S603  no shell, and no words from outside
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from deploy.release.errors import ReleaseError


class Repository:
    """A git checkout with pyproject.toml and CHANGELOG.md.

    Parameters:
      root: where it lies.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def version(self) -> str:
        """The version that pyproject.toml says."""
        return str(tomllib.loads((self.root / "pyproject.toml").read_text())["project"]["version"])

    @property
    def tag(self) -> str:
        """The tag of this version."""
        return f"v{self.version}"

    @property
    def commit(self) -> str:
        """The commit that is checked out."""
        return self._git("rev-parse", "HEAD")

    def check_clean(self) -> None:
        """Raise ReleaseError when a file differs from the commit, or is not in it."""
        changed = self._git("status", "--porcelain").splitlines()
        if changed:
            raise ReleaseError(
                "the working tree is not what would be tagged",
                expected="no change and no file that git does not know; commit or remove them",
                received=", ".join(line.strip() for line in changed[:5]),
                safe_to_retry=True,
            )

    def check_untagged(self) -> None:
        """Raise ReleaseError when this version was released before."""
        if self._git("tag", "--list", self.tag):
            raise ReleaseError(
                f"version {self.version} was released before",
                expected="another version in pyproject.toml and CHANGELOG.md",
                received=f"the tag {self.tag}",
            )

    def changes(self) -> str:
        """Return what CHANGELOG.md says about this version.

        Raises:
          ReleaseError: nothing, or it is still called unreleased.
        """
        text = (self.root / "CHANGELOG.md").read_text(encoding="utf-8")
        found = re.search(rf"^## {re.escape(self.version)}(.*)\n((?:(?!## ).*\n?)*)", text, re.MULTILINE)
        if not found or not re.fullmatch(r" - \d{4}-\d\d-\d\d", found[1]) or not found[2].strip():
            raise ReleaseError(
                f"CHANGELOG.md does not have version {self.version}",
                expected=f"a heading such as ## {self.version} - 2026-01-31, with what has changed below it",
                received=found[0].splitlines()[0] if found else "no heading of this version",
                safe_to_retry=True,
            )
        return found[2].strip()

    def previous(self) -> str | None:
        """Return the tag of the release before; None: this is the first."""
        tags = self._git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-creatordate").splitlines()
        return next((tag for tag in tags if tag != self.tag), None)

    def files_touched(self) -> list[str]:
        """Return the files that differ from the release before; all of them in the first."""
        before = self.previous()
        if before is None:
            return self._git("ls-files").splitlines()
        return self._git("diff", "--name-only", before, "HEAD").splitlines()

    def set_tag(self, note: str) -> None:
        """Tag the commit, with the release note as the tag's message."""
        self._git("tag", "--annotate", self.tag, "--cleanup=verbatim", "--message", note)

    def _git(self, *words: str) -> str:
        git = shutil.which("git")
        if git is None:
            raise ReleaseError("a release needs git", expected="git on the PATH", received="none")
        done = subprocess.run([git, *words], cwd=self.root, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ReleaseError(f"git {words[0]} failed", expected="exit status 0", received=done.stderr.strip())
        return done.stdout.strip()
