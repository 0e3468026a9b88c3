"""A replay is killed at each of its lines: nothing is lost, and no job with a key runs twice.

Short form: one kill in twelve lines. `PROOF=1` kills at every line.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from processes import ROOT, SHOP, envelope, unset, until

PROOF = bool(os.environ.get("PROOF"))
STRIDE = 1 if PROOF else 12
LETTERS = 4


@pytest.fixture
def replay(environment, tmp_path):
    """Replay everything, killed at a line: how many lines that took, or None when it didn't come to its end."""
    command = [sys.executable, Path(__file__).with_name("replay_driver.py")]
    paths = {"PYTHONPATH": f"{ROOT}:{SHOP}"}
    with (
        (tmp_path / "driver.log").open("w") as log,
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env=unset() | paths | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as driver,
    ):

        def run(line):
            driver.stdin.write(f"{line}\n")
            driver.stdin.flush()
            answer = driver.stdout.readline().strip()
            assert answer, (tmp_path / "driver.log").read_text()
            return None if answer in {"killed", "held"} else int(answer)

        yield run
        driver.kill()


@pytest.mark.long
@pytest.mark.timeout(3000 if PROOF else 600)
def test_a_replay_that_is_killed_at_any_line_loses_nothing_and_repeats_nothing(
    start_worker, replay, shop, ledger, tmp_path
):
    worker = start_worker()
    worker.wait_until_ready()
    lines = replay(-1)  # none: it counts them
    assert lines > 50
    number, killed = 0, 0
    for step in range(1, 3 * lines, STRIDE):
        fail(shop, tmp_path, range(number, number + LETTERS))
        (tmp_path / "mended").touch()
        found = replay(step)
        killed += found is None
        until(lambda: replay(0) is not None and shop.count("shop.XQ") == 0)
        number += LETTERS
        wanted = number
        until(lambda wanted=wanted: len(done(ledger)) >= wanted, what=f"a job is lost, killed at line {step}")
        if found is not None:
            break  # it came to its end before that line
    until(lambda: shop.count() == 0)
    worker.stop()

    assert killed * STRIDE >= lines
    assert Counter(done(ledger)) == Counter({f"mended {n} done": 1 for n in range(number)})


def fail(shop, folder, numbers):
    """Let these jobs become dead letters."""
    (folder / "mended").unlink(missing_ok=True)
    shop.publish(*(envelope("mended", n=n) for n in numbers))
    until(lambda: shop.count("shop.XQ") == len(numbers))


def done(ledger):
    return [line for line in ledger.read_text().splitlines() if line.endswith("done")]
