"""Relays that share one outbox are killed at random: every row is published, and every job takes effect once."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import ROOT, Worker, envelope, unset, until
from sqlalchemy import create_engine, insert, text

from workers.store import tables
from workers.store.migrate import migrate

SITE = Path(__file__).parent / "outbox_site"
DUTIFUL = Path(sys.executable).with_name("dutiful")
RELAYS, KILLS, EACH = (3, 100, 200) if os.environ.get("PROOF") else (3, 6, 150)
ROWS = KILLS * EACH
LEFT = "SELECT count(*) FROM dutiful_publisher_outbox"
IN_HAND = f"{LEFT} WHERE claimed_until IS NOT NULL"


@pytest.fixture
def engine(postgres):
    engine = create_engine(postgres)
    migrate(engine, package=None)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE shop_parcels (id serial PRIMARY KEY, order_id integer)"))
    yield engine
    engine.dispose()


@pytest.fixture
def environment(rabbitmq, postgres):
    return {
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_RABBITMQ__PUBLISH_TIMEOUT_SECONDS": "2",
        "DUTIFUL_STORE__URL": postgres,
        "PYTHONPATH": f"{SITE}{os.pathsep}{ROOT}",
    }


@pytest.fixture
def start_relay(environment, postgres, tmp_path):
    started = []

    def start():
        command = [str(DUTIFUL), "outbox", "relay", "parcels", "--url", "-", "--batch", "100"]
        with (tmp_path / "relays.log").open("ab") as log:
            relay = subprocess.Popen(
                command, env=unset() | environment, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True
            )
        relay.stdin.write(f"{postgres}\n")
        relay.stdin.close()
        started.append(relay)
        return relay

    yield start
    for relay in started:
        relay.kill()
        relay.wait()


def scalar(engine, statement):
    with engine.connect() as connection:
        return connection.execute(text(statement)).scalar_one()


def place_orders(engine, numbers):
    """Commit a row for each."""
    rows = []
    for number in numbers:
        fields = json.loads(envelope("ship", queue="shipping", order_id=number)) | {"message_id": f"order {number}"}
        rows.append({"message_id": fields["message_id"], "queue": "shipping", "body": json.dumps(fields)})
    with engine.begin() as connection:
        connection.execute(insert(tables.publisher_outbox), rows)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_row_is_published_and_every_job_takes_effect_once(engine, start_relay, environment, tmp_path):
    chance = random.Random(4)
    # The store's outbox is elsewhere for this worker's relay: its own would empty the table before ours do.
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO dutiful_turns VALUES ('outbox', 'the relays of this test', '2100-01-01 00:00:00+00')")
        )
    worker = Worker(SITE, environment, tmp_path, "-p", "1", "-t", "8", module="parcels")
    try:
        worker.wait_until_ready()
        relays = [start_relay() for _ in range(RELAYS)]
        for kill in range(KILLS):
            place_orders(engine, range(kill * EACH, (kill + 1) * EACH))
            until(lambda: scalar(engine, IN_HAND) > 0 or scalar(engine, LEFT) == 0, pause=0.01)
            time.sleep(chance.uniform(0, 0.05))  # somewhere between the claim and the last row's removal
            place = chance.randrange(RELAYS)
            relays[place].kill()
            relays[place].wait()
            relays[place] = start_relay()
        until(lambda: scalar(engine, LEFT) == 0, 120)
        until(lambda: scalar(engine, "SELECT count(DISTINCT order_id) FROM shop_parcels") == ROWS, 120)
        for relay in relays:
            relay.terminate()
        assert [relay.wait(30) for relay in relays] == [0] * RELAYS, (tmp_path / "relays.log").read_text()
        assert worker.stop()[0] == 0
    finally:
        worker.kill()
    assert scalar(engine, "SELECT count(*) FROM shop_parcels") == ROWS
    print("published again and found done:", len(worker.events("job_duplicate")))  # noqa: T201  for the report
