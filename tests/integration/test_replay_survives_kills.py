"""A replay is killed at each of its lines: nothing is lost, and no job with a key runs twice.

Short form: one kill in twelve lines. `PROOF=1` kills at every line.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import ROOT, Queue, Worker, envelope, until

PROOF = bool(os.environ.get("PROOF"))
STRIDE = 1 if PROOF else 12
HERE = Path(__file__).parent
LETTERS = 4


@pytest.mark.timeout(3000 if PROOF else 400)
def test_a_replay_that_is_killed_at_any_line_loses_nothing_and_repeats_nothing(rabbitmq, tmp_path):
    shop = Queue(rabbitmq, "shop")
    environment = {
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
        "SHOP_LEDGER": str(tmp_path / "ledger"),
    }
    worker = Worker(HERE / "worker_site", environment, tmp_path, "-p", "1", "-t", "4")
    try:
        worker.wait_until_ready()
        lines = run(environment, tmp_path, -1)  # none: it counts them
        assert lines > 50
        number, killed = 0, 0
        for step in range(1, 3 * lines, STRIDE):
            fail(shop, tmp_path, range(number, number + LETTERS))
            (tmp_path / "mended").touch()
            found = run(environment, tmp_path, step)
            killed += found is None
            until(lambda: run(environment, tmp_path, 0) is not None and shop.count("shop.XQ") == 0)
            number += LETTERS
            wanted = number
            until(lambda wanted=wanted: len(done(tmp_path)) >= wanted, what=f"a job is lost, killed at line {step}")
            if found is not None:
                break  # it came to its end before that line
        until(lambda: shop.count() == 0)
        worker.stop()
    finally:
        worker.kill()

    assert killed * STRIDE >= lines
    assert Counter(done(tmp_path)) == Counter({f"mended {n} done": 1 for n in range(number)})


def fail(shop, folder, numbers):
    """Let these jobs become dead letters."""
    (folder / "mended").unlink(missing_ok=True)
    for n in numbers:
        shop.publish(envelope("mended", n=n))
    until(lambda: shop.count("shop.XQ") == len(numbers))


def done(folder):
    return [line for line in (folder / "ledger").read_text().splitlines() if line.endswith("done")]


def run(environment, folder, line):
    """Replay everything: how many lines that took, or None when it was killed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DUTIFUL_", "SITE_"))}
    answer = subprocess.run(
        [sys.executable, HERE / "replay_driver.py", str(line)],
        cwd=folder,
        env=kept | {"PYTHONPATH": f"{ROOT}:{HERE / 'worker_site'}"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if answer.returncode == -9:
        return None
    if "somebody else is looking" in answer.stderr:
        return None  # RabbitMQ has not yet noticed that the other one is dead
    assert answer.returncode == 0, answer.stderr
    return int(answer.stdout.split()[1])
