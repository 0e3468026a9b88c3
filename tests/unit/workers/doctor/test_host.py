"""What the doctor says about this host."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.shell import Shell
from workers.doctor import host

MOUNTS = """/dev/sda1 / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/jobs /srv/shared nfs4 rw 0 0
share /mnt/two\\040words fuse.sshfs rw 0 0
/dev/sdb1 /srv/shared/local xfs rw 0 0
"""


@pytest.fixture
def shell(tmp_path):
    return Shell({}, tmp_path)


def test_sqlite_on_a_network_volume_is_wrong_until_it_is_elsewhere(shell):
    (line,) = host.volume(host.Path("/srv/shared/jobs/store.db"), MOUNTS)

    assert line.verdict == "wrong"
    assert line.what == "the store's SQLite file is on a shared or network volume, where its locks don't hold"
    assert line.expected == "a local disk, or PostgreSQL"
    assert line.received == "/srv/shared/jobs/store.db on nfs4"
    assert line.mend == "export DUTIFUL_STORE__URL=sqlite:////PATH/ON/A/LOCAL/DISK # or that of a PostgreSQL"
    shell.paste(line.mend, **{"PATH/ON/A/LOCAL/DISK": "srv/shared/local/store.db"})
    elsewhere = make_url(shell.environment["DUTIFUL_STORE__URL"]).database
    assert host.volume(host.Path(elsewhere), MOUNTS)[0].what == f"{elsewhere} is on xfs, a disk of this host"
    assert host.volume(host.Path("/mnt/two words/store.db"), MOUNTS)[0].received.endswith("on fuse.sshfs")
    assert host.volume(host.Path("/var/lib/store.db"), MOUNTS)[0].verdict == "ok"


def test_where_mounts_can_t_be_read_nobody_says_ok_and_the_command_tells(tmp_path, shell):
    (line,) = host.volume(tmp_path / "store.db", "")

    assert (line.verdict, line.what) == ("unknown", "this system does not tell what is mounted")
    kind = shell.paste(line.mend).splitlines()[1].split()[1]
    assert host.volume(tmp_path / "store.db")[0].what.endswith(f" is on {kind}, a disk of this host")


def test_this_host_s_own_mounts_can_be_read(tmp_path):
    assert host.volume(tmp_path / "store.db")[0].what.startswith(str(tmp_path))


def test_too_little_room_is_wrong_and_room_is_made(tmp_path, shell):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "log").write_bytes(bytes(100_000))
    folders = {"the store": tmp_path / "not" / "yet"}

    (line,) = host.room(folders, least=sys.maxsize)

    assert line.verdict == "wrong"
    assert line.what == "too little room for the store"
    assert line.expected.endswith(f"MB free at {tmp_path}")
    assert f"{tmp_path}/old\n" in shell.paste(line.mend), "what takes room there"
    assert host.room(folders, least=1)[0].verdict == "ok"


def test_counters_need_a_folder_and_the_command_chooses_another(tmp_path, shell, monkeypatch):
    (tmp_path / "file").touch()

    (line,) = host.counters(tmp_path / "file" / "counters")

    assert line.verdict == "wrong"
    assert line.received == f"{tmp_path}/file/counters: {tmp_path}/file is no folder"
    shell.environment["DUTIFUL_METRICS__DIRECTORY"] = "set"
    shell.paste(line.mend)
    assert "DUTIFUL_METRICS__DIRECTORY" not in shell.environment
    assert host.counters(None)[0].verdict == "ok"
    assert host.counters(tmp_path / "new")[0].verdict == "ok"

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    (line,) = host.counters(None)
    assert line.received == f"{tmp_path}/file: {tmp_path}/file is no folder"
    shell.paste(line.mend, **{"/PATH/OF/A/FOLDER": str(tmp_path)})
    monkeypatch.setenv("TMPDIR", shell.environment["TMPDIR"])
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert host.counters(None)[0].what == str(tmp_path)


def test_a_folder_that_may_not_be_written_is_no_place_for_counters(tmp_path):
    closed = next(each for each in (tmp_path / "closed", Path("/sys"), Path("/proc/sys")) if is_closed(each))

    (line,) = host.counters(closed / "counters")

    assert line.what == "counters can't be left there, so that no worker would start"
    assert line.received == f"{closed}/counters: {closed} is not writable"


def is_closed(folder):
    """Whether this user may not write there; root may write nearly anywhere."""
    if not folder.exists():
        folder.mkdir(mode=0o500)
    return not os.access(folder, os.W_OK)
