import logging
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from workers.store import holders, tables
from workers.store.engine import begin, moment, now
from workers.store.holders import LEASE, Holder

DEADLINE_SECONDS = 10

REGISTER_AND_WAIT = """
import sys
from workers.store.engine import create_store_engine
from workers.store.holders import Holder
print(Holder.register(create_store_engine(sys.argv[1])).id, flush=True)
input()
"""

FORK_AND_TRY_BOTH = """
import os, sys
from workers.errors import StoreError
from workers.store.engine import create_store_engine
from workers.store.holders import Holder
holder = Holder.register(create_store_engine(sys.argv[1]))
pid = os.fork()
if pid == 0:
    try:
        holder.beat()
    except StoreError:
        holder.release()
        os._exit(7)
    os._exit(0)
print(holder.id, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
input()
"""


def address(engine):
    return engine.url.render_as_string(hide_password=False)


def alive(engine, holder_id):
    with begin(engine) as connection:
        return holders.is_alive(connection, holder_id)


def lease(engine, holder):
    with begin(engine) as connection:
        return connection.execute(select(tables.holders).where(tables.holders.c.id == holder.id)).one_or_none()


def change(engine, holder_id, **values):
    with begin(engine) as connection:
        connection.execute(update(tables.holders).where(tables.holders.c.id == holder_id).values(values))


def eventually(condition):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def process(engine):
    """Starts a process with a script and the store's address."""
    started = []

    def start(script):
        command = [sys.executable, "-c", script, address(engine)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate(timeout=DEADLINE_SECONDS)


def test_a_new_lease_is_good_for_twenty_seconds(engine):
    holder = Holder.register(engine)
    row = lease(engine, holder)
    assert row.expires_at - row.beat_at == timedelta(seconds=20)
    assert alive(engine, holder.id)


def test_nobody_holds_an_unknown_lease(engine):
    assert not alive(engine, "never registered")


def test_a_lease_that_was_not_renewed_expires_by_the_stores_clock(engine):
    holder = Holder.register(engine)
    with begin(engine) as connection:
        time_there = now(connection)
    change(engine, holder.id, expires_at=time_there + timedelta(seconds=5))
    assert alive(engine, holder.id)
    change(engine, holder.id, expires_at=time_there - timedelta(milliseconds=1))
    assert not alive(engine, holder.id)
    holder.beat()
    assert alive(engine, holder.id)


def test_a_lease_whose_row_was_removed_is_registered_again_by_the_next_beat(engine):
    holder = Holder.register(engine)
    with begin(engine) as connection:
        connection.execute(delete(tables.holders))
    holder.beat()
    assert alive(engine, holder.id)


def test_a_released_lease_frees_at_once(engine):
    holder = Holder.register(engine)
    other = Holder.register(engine)
    holder.release()
    assert lease(engine, holder) is None
    assert alive(engine, other.id)


def test_a_process_killed_on_this_host_frees_at_once(engine, process):
    child = process(REGISTER_AND_WAIT)
    holder_id = child.stdout.readline().strip()
    assert alive(engine, holder_id)
    child.kill()
    eventually(lambda: not alive(engine, holder_id))  # long before its lease is over, though nobody waited for it


def test_a_process_on_another_host_is_judged_by_its_lease_alone(engine, process):
    child = process(REGISTER_AND_WAIT)
    holder_id = child.stdout.readline().strip()
    change(engine, holder_id, host="elsewhere")
    child.kill()
    child.wait(timeout=DEADLINE_SECONDS)
    assert alive(engine, holder_id)
    with begin(engine) as connection:
        past = moment(connection) - timedelta(seconds=1)
        connection.execute(update(tables.holders).where(tables.holders.c.id == holder_id).values(expires_at=past))
    assert not alive(engine, holder_id)
    with begin(engine) as connection:
        assert holders.is_alive(connection, holder_id, cautious=True), "it may not have been able to beat"


def test_who_has_just_begun_can_not_know_whether_the_store_was_away(engine, monkeypatch):
    holder = Holder.register(engine)
    assert holder.is_cautious
    later = time.monotonic() + LEASE.total_seconds()
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not holder.is_cautious


def test_a_pid_that_another_process_has_by_now_is_not_the_holder(engine):
    holder = Holder.register(engine)
    change(engine, holder.id, pid_started="long ago")
    assert not alive(engine, holder.id)


def test_a_forked_child_neither_renews_nor_gives_up_its_parents_lease(engine, process):
    parent = process(FORK_AND_TRY_BOTH)
    holder_id, status = parent.stdout.readline().split()
    assert status == "7"
    assert alive(engine, holder_id)


def test_the_thread_renews_the_lease_until_it_is_stopped(engine, monkeypatch):
    monkeypatch.setattr(holders, "BEAT", timedelta(milliseconds=10))
    others = set(threading.enumerate())
    holder = Holder.register(engine)
    registered = lease(engine, holder).beat_at
    holder.start()
    holder.start()  # a second start changes nothing
    eventually(lambda: lease(engine, holder).beat_at > registered)
    holder.stop()
    assert set(threading.enumerate()) <= others


def test_the_thread_outlives_an_error_and_renews_the_lease_afterwards(engine, monkeypatch, caplog):
    monkeypatch.setattr(holders, "BEAT", timedelta(milliseconds=10))
    monkeypatch.setattr(holders, "_BEAT_AFTER_OUTAGE", timedelta(milliseconds=10))
    said = []
    holder = Holder.register(engine, said.append)
    monkeypatch.setattr(holder, "_cautious_until", 0.0)  # as if it had begun long ago
    with begin(engine) as connection:
        tables.holders.drop(connection)
    with caplog.at_level(logging.WARNING):
        holder.start()
        eventually(lambda: "lease not renewed" in caplog.text)
        with begin(engine) as connection:
            tables.holders.create(connection)
        eventually(lambda: "lease renewed again" in caplog.text)
    holder.stop()
    assert said == [True, False, True]
    assert holder.is_cautious, "other leases may have run out because nobody could beat"
    assert alive(engine, holder.id)
