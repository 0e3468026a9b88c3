"""What the doctor says about this host."""

import sys

from workers.doctor import host

MOUNTS = """/dev/sda1 / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/jobs /srv/shared nfs4 rw 0 0
share /mnt/two\\040words fuse.sshfs rw 0 0
/dev/sdb1 /srv/shared/local xfs rw 0 0
"""


def test_sqlite_on_a_network_volume_is_wrong(tmp_path):
    (line,) = host.volume(host.Path("/srv/shared/jobs/store.db"), MOUNTS)

    assert line.verdict == "wrong"
    assert line.what == "the store's SQLite file is on a shared or network volume, where its locks don't hold"
    assert line.expected == "a local disk, or PostgreSQL"
    assert line.received == "/srv/shared/jobs/store.db on nfs4"
    assert line.mend.startswith("export DUTIFUL_STORE__URL=sqlite:////")
    assert host.volume(host.Path("/mnt/two words/store.db"), MOUNTS)[0].received.endswith("on fuse.sshfs")
    # What the command does: another place.
    assert host.volume(host.Path("/srv/shared/local/store.db"), MOUNTS)[0].verdict == "ok"
    assert host.volume(host.Path("/var/lib/store.db"), MOUNTS)[0].verdict == "ok"


def test_where_mounts_can_t_be_read_nobody_says_ok():
    assert host.volume(host.Path("/store.db"), "")[0].verdict == "unknown"


def test_this_host_s_own_mounts_can_be_read(tmp_path):
    assert host.volume(tmp_path / "store.db")[0].what.startswith(str(tmp_path))


def test_too_little_room_is_wrong_and_room_is_made(tmp_path):
    folders = {"the store": tmp_path / "not" / "yet"}

    (line,) = host.room(folders, least=sys.maxsize)

    assert line.verdict == "wrong"
    assert line.what == "too little room for the store"
    assert line.expected.endswith(f"MB free at {tmp_path}")
    assert line.mend.startswith(f"make room: du -xh {tmp_path}")
    assert host.room(folders, least=1)[0].verdict == "ok"


def test_counters_need_a_folder_and_the_command_chooses_another(tmp_path):
    (tmp_path / "file").touch()

    (line,) = host.counters(tmp_path / "file" / "counters")

    assert line.verdict == "wrong"
    assert line.received == f"{tmp_path}/file/counters: {tmp_path}/file is no folder"
    assert line.mend == "unset DUTIFUL_METRICS__DIRECTORY"
    assert host.counters(None)[0].verdict == "ok"
    assert host.counters(tmp_path / "new")[0].verdict == "ok"
