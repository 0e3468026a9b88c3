"""What docs/operations.md says to do with dead letters, done."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import Queue, Worker, envelope, until

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs/operations.md").read_text()


@pytest.fixture
def worker(rabbitmq, tmp_path):
    environment = {
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
        "SHOP_LEDGER": str(tmp_path / "ledger"),
    }
    started = Worker(HERE / "worker_site", environment, tmp_path, "-p", "1", "-t", "2")
    started.wait_until_ready()
    yield started
    started.kill()


def test_the_script_runs_each_dead_letter_once_more(worker, rabbitmq, tmp_path):
    shop = Queue(rabbitmq, "shop")
    (script,) = re.findall(r"^```python title=replay.py\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "replay.py").write_text(script)
    for _ in range(2):
        shop.publish(envelope("hopeless"))
    until(lambda: shop.count("shop.XQ") == 2)

    said = subprocess.run(
        [sys.executable, "replay.py", "shop"],
        cwd=tmp_path,
        env=os.environ | {"DUTIFUL_RABBITMQ__URL": rabbitmq},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert said.count("permanent") == 2
    until(lambda: len(worker.events("job_dead")) == 4)
    until(lambda: shop.count("shop.XQ") == 2)
    assert [properties.headers["dutiful-generation"] for properties, _ in shop.dead()] == [1, 1]


def test_a_dead_letter_that_is_moved_as_it_is_counts_as_a_duplicate(worker, rabbitmq):
    shop = Queue(rabbitmq, "shop")
    shop.publish(envelope("hopeless"))
    until(lambda: shop.count("shop.XQ") == 1)
    ((properties, body),) = shop.dead()

    shop.publish(body, headers=properties.headers)

    until(lambda: worker.events("job_duplicate"))
    assert shop.count("shop.XQ") == 0
