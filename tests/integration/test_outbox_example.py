"""docs/outbox.md's shop runs as it is written: on a database of its own, and on dutiful's store."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from processes import ROOT, Worker, until
from sqlalchemy import create_engine, text

from deploy.local import ports
from tests import commands
from tests.commands import unset

PAGE = (ROOT / "docs/outbox.md").read_text()
FILES = re.findall(r"^```python title=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
# Places orders as clients do, and is killed without a word right after the last answer.
CLIENT = """
import os, signal, sys
from fastapi.testclient import TestClient
from service import app

client = TestClient(app)
for id, item in [(1, "lamp"), (2, ""), (1, "another lamp"), (3, "chair")]:
    print(client.post("/orders", json={"id": id, "item": item}).status_code, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, content in FILES:
        (folder / name).write_text(content)
    shutil.copy(Path(__file__).parent / "outbox_site" / "tables.py", folder)
    return folder


@pytest.fixture(params=["the store", "a database of its own"])
def shop(request, site, postgres, rabbitmq, tmp_path):
    """The shop's database, and what runs there: run("dutiful", ...)."""
    own = request.param == "a database of its own"
    database = f"sqlite:///{tmp_path}/shop.db" if own else postgres
    environment = {
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_STORE__URL": postgres,
        "SHOP_DATABASE": database,
        "PYTHONPATH": f"{site}{os.pathsep}{ROOT}",
    }

    def run(*command):
        return subprocess.run(command, cwd=site, env=unset() | environment, capture_output=True, text=True, check=False)

    def dutiful(*arguments):
        done = commands.dutiful(*arguments, environment=unset() | environment, folder=site)
        assert done.returncode == 0, done.stderr
        return done.stdout

    dutiful("store", "migrate")
    if own:
        dutiful("outbox", "init", "--url", database)
    make = "import os; from sqlalchemy import create_engine; from tables import metadata; "
    for url in {database, postgres}:
        made = run(sys.executable, "-c", make + f"metadata.create_all(create_engine({url!r}))")
        assert made.returncode == 0, made.stderr
    run.dutiful, run.own, run.environment, run.database = dutiful, own, environment, database
    return run


def metrics(port):
    """What the process beside the workers serves; nothing while it starts."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics").text
    except httpx.TransportError:
        return ""


def count(url, table):
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
    engine.dispose()
    return found


def test_the_service_is_as_short_as_a_page_promises():
    service = dict(FILES)["service.py"]
    assert len([line for line in service.splitlines() if line.strip()]) <= 30


def test_an_order_and_its_job_are_one_commit_and_survive_a_kill(shop, site, postgres, tmp_path):
    placed = shop(sys.executable, "-c", CLIENT)
    assert placed.stdout.split() == ["201", "409", "409", "201"], placed.stderr
    assert placed.returncode == -signal.SIGKILL
    assert count(shop.database, "dutiful_publisher_outbox") == 2, "what was rolled back sends nothing"

    (port,) = ports.choose(1)
    environment = shop.environment | {"DUTIFUL_METRICS__PORT": str(port)}
    worker = Worker(site, environment, tmp_path, "-p", "1", "-t", "2", module="shipping")
    try:
        worker.wait_until_ready()
        if shop.own:
            assert "relayed 2, set aside 0, not taken 0" in shop.dutiful(
                "outbox", "relay", "shipping", "--url", shop.database, "--once"
            )
        until(lambda: count(postgres, "shop_parcels") == 2, what=worker.text())
        until(lambda: count(shop.database, "dutiful_publisher_outbox") == 0)
        shown = until(lambda: metrics(port))
        assert f"dutiful_outbox_relayed_total {0 if shop.own else 2}.0" in shown
        assert 'dutiful_outbox_failures_total{why="set_aside"} 0.0' in shown
        assert "dutiful_outbox_waiting " in shown
        assert worker.stop()[0] == 0
    finally:
        worker.kill()
