"""Both wheels are built of a commit, and refused when they would not work where they are installed."""

import hashlib
import subprocess
import sys
import zipfile

import pytest
from processes import ROOT

from deploy.release.errors import ReleaseError
from deploy.release.repository import Repository
from deploy.release.wheels import SUMS, WHEELS, build, make


@pytest.fixture
def clone(tmp_path):
    """A copy of this commit that may be changed."""
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, folder], check=True)
    return folder


def commit(folder):
    who = ["-c", "user.name=t", "-c", "user.email=t@t.example"]
    subprocess.run(["git", *who, "commit", "--quiet", "--all", "--message", "a change"], cwd=folder, check=True)


@pytest.mark.timeout(600)
def test_both_wheels_work_where_nothing_else_is_and_have_the_files_of_the_commit_alone(clone, tmp_path):
    (clone / "workers/left_lying_about.py").write_text("")
    made = make(clone, tmp_path / "wheels")

    version = Repository(clone).version
    assert [file.name for file in made] == [
        f"dutiful_publisher-{version}-py3-none-any.whl",
        f"dutiful-{version}-py3-none-any.whl",
    ]
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in made]
    assert (tmp_path / "wheels" / SUMS).read_text().splitlines() == sums
    assert not [name for file in made for name in zipfile.ZipFile(file).namelist() if "left_lying" in name]


@pytest.mark.timeout(600)
def test_a_wheel_that_lacks_a_module_is_refused_and_the_module_is_named(clone, tmp_path):
    project = clone / "deploy/publisher/pyproject.toml"
    lines = project.read_text().splitlines(keepends=True)
    project.write_text("".join(line for line in lines if "workers/wire.py" not in line))
    commit(clone)

    with pytest.raises(ReleaseError) as refusal:
        make(clone, tmp_path / "wheels")

    assert "cannot import name 'wire' from partially initialized module 'dutiful_publisher'" in str(refusal.value)
    assert not (tmp_path / "wheels" / SUMS).exists()


def test_a_wheel_that_differs_from_place_to_place_is_refused(tmp_path):
    copies = [tmp_path / "one", tmp_path / "other"]
    for copy in copies:
        subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, copy], check=True)
    (copies[1] / "deploy/publisher/py.typed").write_text("partial\n")
    hatchling = [sys.executable, "-m", "hatchling"]

    with pytest.raises(ReleaseError, match="dutiful-publisher is not the same when it is built again"):
        build(WHEELS[0], copies, hatchling, tmp_path)
