"""Every way to publish says in the message which version of its actor's contract was meant."""

import asyncio

import dramatiq
import pytest
from sqlalchemy import select

from workers import actor, current_job, outbox
from workers.broker import setup_broker
from workers.schemas import schema, version_of
from workers.store import publisher_outbox, tables
from workers.store.engine import begin, create_store_engine
from workers.store.publisher_outbox import Waiting

CARD = {"owner": "tests", "expects": "nothing", "rollback": "none"}
setup_broker()


@actor(**CARD, actor_name="meant.told")
def told(n: int) -> int:
    return n


@actor(**CARD, actor_name="meant.sends")
def sends() -> None:
    with current_job().transaction():
        told.send(1)


@dramatiq.actor(actor_name="meant.stock")
def stock(n: int) -> None:
    """It has no contract."""


WAYS = {
    "send": lambda _: told.send(1),
    "send_with_options": lambda _: told.send_with_options(kwargs={"n": 1}, key="mine", delay=1000),
    "send_async": lambda _: asyncio.run(told.send_async(1)),
    "in bulk": lambda jobs: jobs.broker.enqueue_many([told.message(1)]),
    "a pipeline": lambda _: (stock.message(1) | told.message_with_options(args=(1,), pipe_ignore=True)).run(),
    "a group": lambda _: dramatiq.group([told.message(1)]).run(),
    "a job's commit": lambda _: sends.send(),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_sent_says_which_contract_was_meant(way, jobs):
    WAYS[way](jobs)
    jobs.run()

    sent = [each for each in jobs.published if each.actor_name == "meant.told"]
    assert {each.options["contract"] for each in sent} == {version_of(schema(told))}


def test_a_row_of_an_outbox_says_it_too(tmp_path):
    engine = create_store_engine(f"sqlite:///{tmp_path}/shop.db")
    with begin(engine) as connection:
        publisher_outbox.create(connection)
        outbox.add(connection, told.message(1))
        columns = tables.publisher_outbox.c
        row = connection.execute(
            select(columns.message_id, columns.queue, columns.body, columns.headers, columns.delay_ms)
        ).one()
    engine.dispose()

    assert outbox.read(Waiting(*row, created_at=None)).options == {"contract": version_of(schema(told))}


def test_an_actor_without_a_contract_says_none(jobs):
    stock.send(1)

    assert "contract" not in jobs.published[0].options
