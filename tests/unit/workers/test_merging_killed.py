"""Whoever merges metrics may be killed after any step: what processes have counted is counted once all the same."""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from contextlib import suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from workers.merging import Merging

GONE = [str(2**22 + number) for number in range(1, 4)]  # above the largest pid that Linux gives
STEPS = {"open", "os.rename", "os.remove"}
KILLED_AT_A_STEP = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from workers.merging import Merging
    folder, left, steps = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
    def count(event, arguments):
        global left
        if event in steps and str(arguments[0]).startswith(folder):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    Merging(Path(folder)).text()
    """
)


def counts(folder, pid, number, kind="counter"):
    """A process counts in its file, as one does that finds the file there."""
    file = MmapedDict(str(folder / f"{kind}_{pid}.db"))
    key = mmap_key("jobs", "jobs_total", ["queue"], ["shop"], "All.")
    file.write_value(key, file.read_value(key)[0] + number, 0)
    file.close()


def total(folder):
    line = next((line for line in Merging(folder).text().decode().splitlines() if line.startswith("jobs_total{")), " 0")
    return float(line.rpartition(" ")[2])


def test_killed_at_any_step_nothing_is_lost_or_counted_twice(tmp_path):
    counted, ended = 0, -signal.SIGKILL
    for step in itertools.count(1):
        for number, pid in enumerate([*GONE, os.getpid()]):
            counts(tmp_path, pid, 10**number)
            counts(tmp_path, pid, 1, kind="gauge_livesum")
        command = [sys.executable, "-c", KILLED_AT_A_STEP, str(tmp_path), str(step), ",".join(STEPS)]
        ended = subprocess.run(command, check=False, timeout=60).returncode
        counts(tmp_path, GONE[0], 10_000)  # a pid is used again before the next scrape, and its new owner dies as well
        counted += 11_111
        assert total(tmp_path) == counted, f"killed at step {step}"
        if ended == 0:
            break
        assert ended == -signal.SIGKILL

    assert step > 10, "there are more files than steps"
    assert {path.suffix for path in tmp_path.iterdir()} == {".db"}, "something was left behind"


class Killed(BaseException):
    """The end of a process, for a model that has no time to start any."""


class Ending:
    """Ends what it is told to at a step; audit hooks can't be taken away, so there is one."""

    left = 0
    folder = "/nowhere"

    @classmethod
    def hook(cls, event, arguments):
        if cls.left and event in STEPS and str(arguments[0]).startswith(cls.folder):
            cls.left -= 1
            if not cls.left:
                raise Killed


sys.addaudithook(Ending.hook)


class Folder(RuleBasedStateMachine):
    """Processes count, die, and pids come again; who merges is killed now and then. The sum is always theirs."""

    @initialize()
    def begin(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.sum = 0

    @rule(pid=st.sampled_from(GONE), number=st.integers(1, 9))
    def a_process_counts_and_dies(self, pid, number):
        self.count(pid, number)

    @rule(number=st.integers(1, 9))
    def a_living_process_counts(self, number):
        self.count(os.getpid(), number)

    def count(self, pid, number):
        counts(self.folder, pid, number)
        self.sum += number

    @rule(pids=st.sets(st.sampled_from(GONE), min_size=1), steps=st.lists(st.integers(1, 12), min_size=1, max_size=3))
    def who_merges_is_killed(self, pids, steps):
        for pid in pids:
            self.count(pid, 1)
        for step in steps:
            Ending.folder, Ending.left = str(self.folder), step
            with suppress(Killed):
                Merging(self.folder).text()
            Ending.left = 0

    @rule()
    def somebody_scrapes(self):
        assert total(self.folder) == self.sum

    def teardown(self):
        assert total(self.folder) == self.sum
        self.temporary.cleanup()


def test_any_order_of_deaths_scrapes_and_kills_keeps_the_sum():
    run_state_machine_as_test(Folder, settings=settings(max_examples=40, stateful_step_count=12, deadline=None))
