import os
import shutil
import subprocess
import sys

import pytest

from workers.store import processes


@pytest.fixture
def child():
    """A process that runs until it is ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_this_process_is_running():
    assert processes.is_running(os.getpid(), processes.started(os.getpid()))


def test_a_pid_that_is_used_again_is_another_process(child):
    assert processes.started(child.pid) != ""
    assert not processes.is_running(child.pid, "long ago")


def test_a_process_that_was_waited_for_is_not_running(child):
    start = processes.started(child.pid)
    child.kill()
    child.wait(timeout=10)
    assert not processes.is_running(child.pid, start)


def test_a_killed_process_that_nobody_waited_for_is_not_running(child):
    start = processes.started(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    assert not processes.is_running(child.pid, start)


def test_a_process_whose_start_was_never_known_is_given_the_benefit_of_the_doubt(child):
    assert processes.is_running(child.pid, "")


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps here")
def test_ps_tells_the_same_where_there_is_no_proc(child, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    start = processes.started(child.pid)
    assert start != ""
    assert processes.is_running(child.pid, start)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_running(child.pid, start)


def test_a_pid_means_something_only_in_one_boot_and_namespace():
    name, *place = processes.host().split(" ", 1)
    assert name
    if sys.platform == "linux":
        assert "pid:[" in place[0]
