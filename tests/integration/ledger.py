"""A site whose jobs enter a row for each effect, and what tests do to its processes and ask of its store."""

import contextlib
import os
import signal
from pathlib import Path

import pika
from processes import ROOT, Queue, Worker, envelope, until
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from workers.store.engine import create_store_engine, read_only
from workers.store.migrate import migrate

SITE = Path(__file__).parent / "ledger_site"
EFFECTS = """
    CREATE TABLE effects (run TEXT PRIMARY KEY, kind TEXT NOT NULL, n INTEGER NOT NULL, command INTEGER NOT NULL,
                          attempt INTEGER NOT NULL, at DOUBLE PRECISION NOT NULL)
"""


class Bank:
    """One vhost, one store, and any number of `dramatiq` commands with one worker process each."""

    def __init__(self, rabbitmq, store, folder):
        self.queue = Queue(rabbitmq, "bank")
        self.folder = folder
        self.lines_file = folder / "lines"
        self.lines_file.touch()
        self.environment = {
            "DUTIFUL_RABBITMQ__URL": rabbitmq,
            "DUTIFUL_STORE__URL": store,
            "BANK_LINES": str(self.lines_file),
            "PYTHONPATH": f"{SITE}{os.pathsep}{ROOT}",
        }
        self.workers = []
        self.killed = set()
        self.engine = create_store_engine(store)
        migrate(self.engine, package=None)
        with self.engine.begin() as connection:
            connection.execute(text(EFFECTS))

    def start(self, *, threads=4, module="bank", ready=True, **environment):
        """Start a command with one worker process; its log is its own."""
        folder = self.folder / f"worker-{len(self.workers)}"
        folder.mkdir()
        worker = Worker(SITE, self.environment | environment, folder, "-p", "1", "-t", str(threads), module=module)
        self.workers.append(worker)
        if ready:
            worker.wait_until_ready()
        return worker

    def kill(self, worker):
        """The worker process first; then what its command has left, which would only stop by itself."""
        self.killed.add(worker.process.pid)
        os.kill(worker.children()[0], signal.SIGKILL)
        worker.kill()

    def publish(self, messages):
        """Publish (actor, n) with a fresh id each, and each confirmed."""
        with self._channel() as channel:
            for actor, n in messages:
                self._send(channel, actor, n)

    def pour(self, messages):
        """Publish many while no worker runs, and wait until all of them are in the queue."""
        wanted = self.queue.count() + len(messages)
        self.publish(messages)
        until(lambda: self.queue.count() == wanted, 120, what="not everything has reached the queue")

    def rows(self, query, **values):
        """What the store answers; while it restarts, it is asked again."""
        return until(lambda: self._rows(query, values), 60, what="the store did not answer")[0]

    def scalar(self, query, **values):
        return self.rows(query, **values)[0][0]

    def lines(self):
        return [line.split() for line in self.lines_file.read_text().splitlines()]

    def events(self, name):
        return [event for worker in self.workers for event in worker.events(name)]

    def ended(self):
        """How many keys are done."""
        return self.scalar("SELECT count(*) FROM dutiful_keys WHERE state = 'done'")

    def state(self):
        """Where the keys are, for the message of a test that fails."""
        return [tuple(row) for row in self.rows("SELECT actor, state, count(*) FROM dutiful_keys GROUP BY 1, 2")]

    def troubles(self):
        """What the workers have said above the level of a note, for the message of a test that fails."""
        lines = [line for worker in self.workers for line in worker.text().splitlines()]
        return [line for line in lines if '"level": "info"' not in line]

    def close(self):
        for worker in self.workers:
            worker.kill()
        self.engine.dispose()

    def _rows(self, query, values):
        with contextlib.suppress(DBAPIError), read_only(self.engine).connect() as connection:
            return [connection.execute(text(query), values).all()]
        return None

    @contextlib.contextmanager
    def _channel(self):
        with pika.BlockingConnection(pika.URLParameters(self.queue.url)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()  # who doesn't ask can't say afterwards that a message was lost
            yield channel

    def _send(self, channel, actor, n):
        queue = {"keyless": "open", "held_safe": "held", "held_bare": "held"}.get(actor, "bank")
        properties = pika.BasicProperties(delivery_mode=2)
        channel.basic_publish("dutiful.jobs", queue, envelope(actor, queue=queue, n=n), properties, mandatory=True)


def wait_for_end(bank, jobs, seconds):
    """Until every key is done and nothing is in the queue. The store, which is busy, is asked last."""
    until(lambda: bank.queue.count() == 0, seconds, what="messages are left")
    until(lambda: bank.ended() == jobs, seconds, what=f"{jobs} keys were not done, but {bank.state()}")
    until(lambda: bank.queue.count() == 0, seconds, what="a message is left")


def answers(bank):
    """Whether the store takes statements."""
    return bank._rows("SELECT 1", {}) is not None
