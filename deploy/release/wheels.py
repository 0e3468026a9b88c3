"""Builds both wheels from the commit, and tries each in an environment of its own.

python -m deploy.release.wheels FOLDER

FOLDER gets the wheels, and SHA256SUMS, which `sha256sum --check` reads. Whoever has the commit can build the same
bytes: each wheel is built twice, in two places, by what deploy/build.lock names, and dated as the commit is.
"""

# ruff: noqa: T201, S603  it speaks to a person; no shell, and no words from outside
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.release.errors import ReleaseError
from deploy.release.repository import Repository

SUMS = "SHA256SUMS"
BUILDERS = "deploy/build.lock"
RUNTIME = "requirements.lock"
LAST_LETTERS = 800


@dataclass(frozen=True)
class Wheel:
    """One wheel.

    Attributes:
      project: its name.
      folder: of its pyproject.toml.
      extras: that are installed too.
      tries: programs of its environment that must end with status 0; they begin in an empty folder.
    """

    project: str
    folder: str
    extras: str
    tries: tuple[tuple[str, ...], ...]


IMPORT = """
import importlib, importlib.metadata, sys
from pathlib import Path
assert importlib.metadata.version(sys.argv[1]) == sys.argv[2], importlib.metadata.version(sys.argv[1])
for name in sys.argv[3:]:
    module = importlib.import_module(name)
    assert Path(module.__file__).is_relative_to(sys.prefix), module.__file__
    [getattr(module, each) for each in getattr(module, "__all__", ())]
"""
WHEELS = (
    Wheel(
        "dutiful-publisher",
        "deploy/publisher",
        "",
        (("python", "-I", "-c", IMPORT, "dutiful-publisher", "{version}", "dutiful_publisher"),),
    ),
    Wheel(
        "dutiful",
        ".",
        "[gateway,jobs]",
        (
            (
                "python",
                "-I",
                "-c",
                IMPORT,
                "dutiful",
                "{version}",
                "workers",
                "actors",
                "scheduling",
                "workers.gateway",
            ),
            ("dutiful", "store", "migrate"),  # its scripts are files beside the modules
            ("dutiful", "actors", "list"),
        ),
    ),
)


def make(root: Path, into: Path) -> list[Path]:
    """Build and try both; return the wheels.

    Parameters:
      root: a checkout; its commit counts, not what else lies there.
      into: what an earlier run left there goes.

    Raises:
      ReleaseError: one can't be built, is not the same twice, or does not work where nothing else is.
    """
    version = Repository(root).version
    with tempfile.TemporaryDirectory(prefix="dutiful-wheels-") as scratch:
        place = Path(scratch)
        copies = [_copy(root, place / name) for name in ("one", "another place")]
        hatchling = str(_environment(place / "build", copies[0], "--requirement", BUILDERS) / "hatchling")
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        made = [build(wheel, copies, [hatchling], into) for wheel in WHEELS]
        for wheel, file in zip(WHEELS, made, strict=True):
            _try(wheel, file, version, place, copies[0])
    (into / SUMS).write_text("".join(f"{_sum(file)}  {file.name}\n" for file in made))
    return made


def wheels_in(folder: Path) -> list[str]:
    """Return name and digest of each wheel that lies there, as SHA256SUMS says."""
    file = folder / SUMS
    lines = file.read_text().splitlines() if file.is_file() else []
    return [f"{name}, sha256 {digest}" for digest, name in (line.split() for line in lines)]


def _copy(root: Path, folder: Path) -> Path:
    """Return a folder with the commit's files alone."""
    _run(["git", "clone", "--quiet", "--shared", str(root), str(folder)], root)
    return folder


def _environment(folder: Path, copy: Path, *words: str) -> Path:
    """Make an environment with packages whose hashes are known; return its folder of programs."""
    uv = [sys.executable, "-m", "uv"]
    _run([*uv, "venv", "--quiet", "--python", sys.executable, str(folder)], copy)
    _run([*uv, "pip", "install", "--quiet", "--require-hashes", "--python", str(folder / "bin/python"), *words], copy)
    return folder / "bin"


def build(wheel: Wheel, copies: Sequence[Path], hatchling: Sequence[str], into: Path) -> Path:
    """Build a wheel of each copy; return the one that is kept.

    Parameters:
      hatchling: the words that call it.

    Raises:
      ReleaseError: they are not the same.
    """
    built: list[Path] = []
    for copy in copies:
        moment = _run(["git", "log", "-1", "--format=%ct"], copy).strip()
        out = copy / "dist" / wheel.project
        _run([*hatchling, "build", "-t", "wheel", "-d", str(out)], copy / wheel.folder, SOURCE_DATE_EPOCH=moment)
        built += out.glob("*.whl")
    if len({_sum(file) for file in built}) != 1:
        raise ReleaseError(
            f"{wheel.project} is not the same when it is built again",
            expected="the same bytes of the same commit, in any folder",
            received=", ".join(_sum(file) for file in built),
        )
    return Path(shutil.copy(built[0], into))


def _try(wheel: Wheel, file: Path, version: str, place: Path, copy: Path) -> None:
    """Install a wheel where nothing else is, with the versions of the lock, and run its programs there."""
    wanted = place / f"{wheel.project}.txt"
    wanted.write_text(f"{wheel.project}{wheel.extras} @ {file.resolve().as_uri()} --hash=sha256:{_sum(file)}\n")
    programs = _environment(place / wheel.project, copy, "--constraint", RUNTIME, "--requirement", str(wanted))
    empty = place / f"{wheel.project} runs here"
    empty.mkdir()
    for program, *words in wheel.tries:
        _run([str(programs / program), *(word.replace("{version}", version) for word in words)], empty)


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _run(words: Sequence[str], folder: Path, **more: str) -> str:
    """Run a program; return its output.

    Raises:
      ReleaseError: it failed; the error has the end of what it said.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("DUTIFUL_", "PYTHON"))}
    done = subprocess.run(words, cwd=folder, env=ours | more, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        program = " ".join(words).partition("\n")[0].strip()  # the rest would be the text of a script
        said = (done.stdout + done.stderr).strip()[-LAST_LETTERS:]
        raise ReleaseError(f"`{program}` failed", expected="exit status 0", received=said)
    return done.stdout


def main(arguments: list[str]) -> int:
    """Make both; say what they are, or what is wrong."""
    if len(arguments) != 1:
        print("usage: python -m deploy.release.wheels FOLDER")
        return 2
    try:
        made = make(Path.cwd(), Path(arguments[0]))
    except ReleaseError as error:
        print(f"wrong: {error}")
        return 1
    for file in made:
        files = len(zipfile.ZipFile(file).namelist())
        print(f"{file.name}: {file.stat().st_size:,} bytes, {files} files, sha256 {_sum(file)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
