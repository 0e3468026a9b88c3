"""The store goes away while jobs wait: nothing runs unprotected, nothing is charged or lost, and no storm follows.

Short form: 1,200 jobs; away for 6 s, frozen for 15. `PROOF=1` makes it 100,000 jobs and 60 s; `SEED=` another order.
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter

import pika
import pytest
from ledger import Bank, answers, wait_for_end
from processes import until
from sqlalchemy import text

from deploy.local import processes
from workers.errors import StoreUnavailable
from workers.store import postgresql
from workers.store.engine import begin, outages

pytestmark = [pytest.mark.broker, pytest.mark.long]

PROOF = bool(os.environ.get("PROOF"))
SEED = int(os.environ.get("SEED") or 20261122)
JOBS = 100_000 if PROOF else 1_200
AWAY_SECONDS = dict.fromkeys(("Stopped", "Frozen"), 60) if PROOF else {"Stopped": 6, "Frozen": 15}
# Until it is known that a server is away that answers nobody, threads wait for it.
UNKNOWN_SECONDS = {"Stopped": 0, "Frozen": 2 * postgresql.SILENCE_SECONDS}
PROCESSES, THREADS = 2, 4
PREFETCH = 64 * THREADS  # of a queue whose jobs are short
HANDED_OUT = 32 * THREADS  # at most so many of them have their keys already
RECOVERY_SECONDS = 10
KEYLESS_EVERY_SECONDS = 0.1


class Firehose:
    """Notes when what was published to the vhost, by whatever client: RabbitMQ tells it of each message."""

    def __init__(self, url, management):
        vhost = url.rpartition("/")[2]
        management.put(f"/api/vhosts/{vhost}", json={"tracing": True}).raise_for_status()
        self.notes = []
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = self._connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "amq.rabbitmq.trace", "publish.#")
        channel.basic_consume(queue, self._note, auto_ack=True)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def stop(self):
        self._over.set()
        self._thread.join()
        self._connection.close()

    def between(self, first, last):
        """When anything was published, but for what the test itself publishes."""
        return [at for at, route in list(self.notes) if first <= at <= last and route != "open"]

    def _note(self, _channel, _method, properties, _body):
        self.notes.append((time.monotonic(), properties.headers["routing_keys"][0]))

    def _listen(self):
        while not self._over.is_set():
            self._connection.process_data_events(time_limit=0.05)


class Stopped:
    """An immediate shutdown: connections are cut, new ones are refused."""

    def __init__(self, server):
        self.server = server

    def leave(self):
        self.server.kill("postgres", number=signal.SIGQUIT)
        self.server.stop_service("postgres")

    def come_back(self):
        self.server.start_service("postgres")


class Frozen:
    """Every process of the server is stopped: connections stay, and nobody answers."""

    def __init__(self, server):
        self.server = server

    def leave(self):
        parent = self.server.pid("postgres")
        os.kill(parent, signal.SIGSTOP)  # first, so that it starts no more of them
        self.stopped = [parent, *processes.children(parent)]
        for pid in self.stopped[1:]:
            os.kill(pid, signal.SIGSTOP)

    def come_back(self):
        for pid in reversed(self.stopped):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture
def server(stack):
    return stack(services=["postgres"])


@pytest.fixture
def bank(rabbitmq, server, tmp_path):
    bank = Bank(rabbitmq, server.environment["DUTIFUL_STORE__URL"], tmp_path)
    yield bank
    bank.close()


@pytest.fixture
def firehose(rabbitmq, management):
    firehose = Firehose(rabbitmq, management)
    yield firehose
    firehose.stop()


@pytest.fixture
def keyless(bank):
    """Jobs without a key, one after the other, until it is set."""
    over = threading.Event()

    def publish():
        n = 0
        while not over.wait(KEYLESS_EVERY_SECONDS):
            bank.publish([("keyless", n)])
            n += 1

    thread = threading.Thread(target=publish)
    yield thread
    over.set()
    if thread.ident is not None:
        thread.join()


def busiest_second(moments):
    """The most that fell into any one second."""
    return max((sum(first <= at < first + 1 for at in moments) for first in moments), default=0)


def ran(bank, kind, first, last):
    """When jobs of this kind wrote their line, by the wall clock."""
    return [float(at) for name, _, at in bank.lines() if name == kind and first <= float(at) <= last]


@pytest.mark.timeout(900 if PROOF else 600)
@pytest.mark.parametrize("outage", [Stopped, Frozen])
def test_a_store_that_is_away_stops_only_what_needs_it(bank, server, firehose, keyless, outage):
    chance = random.Random(SEED)
    first = bank.start(threads=THREADS)  # it declares the queues
    assert first.stop()[0] == 0
    jobs = [(chance.choice(["safe", "noted"]), n) for n in range(JOBS)]
    bank.pour(jobs)
    keyless.start()
    for _ in range(PROCESSES):
        bank.start(threads=THREADS, ready=False)
    until(lambda: bank.ended() > 50, what="nothing was done")

    way, away_seconds = outage(server), AWAY_SECONDS[outage.__name__]
    left = time.monotonic()
    way.leave()
    try:
        gone, gone_wall = time.monotonic(), time.time()
        time.sleep(away_seconds)
    finally:
        way.come_back()
    back_wall = time.time()
    until(lambda: answers(bank), 30, what="PostgreSQL did not come back")
    back, answered_wall = time.monotonic(), time.time()
    meanwhile = firehose.between(left, back)

    done = bank.ended()
    assert done < JOBS, "nothing was left to do when the store went away"
    until(lambda: bank.ended() > done, RECOVERY_SECONDS, what="no job was done after the store came back")
    recovered = time.monotonic() - back
    wait_for_end(bank, JOBS, 600 if PROOF else 60)
    after = firehose.between(back, time.monotonic())

    unprotected = ran(bank, "noted", gone_wall, back_wall)
    went_on = ran(bank, "keyless", gone_wall, back_wall)
    figures = {
        "done before": done,
        "publishes while away": len(meanwhile),
        "publishes after": len(after),
        "most in a second after": busiest_second(after),
        "recovered after s": round(recovered, 1),
        "with claims from before": len(unprotected),
        "keyless meanwhile": len(went_on),
        "seconds to answer": round(answered_wall - back_wall, 1),
    }
    print(f"{JOBS} jobs, {outage.__name__} for {gone - left:.1f} + {away_seconds} s, seed {SEED}: {figures}")  # noqa: T201
    effects = Counter(("safe", row.n) for row in bank.rows("SELECT n FROM effects"))
    effects += Counter(("noted", int(n)) for name, n, _ in bank.lines() if name == "noted")
    assert effects == Counter(jobs), "lost, or doubled"
    # 0 where the server went down before a claim was on its disk: the ending has entered the row again.
    assert bank.scalar("SELECT max(attempt) FROM dutiful_keys") == 1, "an attempt was spent"
    assert bank.queue.dead() == []
    assert len(unprotected) <= PROCESSES * HANDED_OUT, figures
    assert len(meanwhile) <= PROCESSES * PREFETCH, figures
    assert len(after) <= PROCESSES * PREFETCH, figures
    known_seconds = away_seconds - UNKNOWN_SECONDS[outage.__name__]
    assert len(went_on) >= known_seconds / KEYLESS_EVERY_SECONDS / 4, figures


def test_a_statement_that_nobody_answers_ends_as_an_outage(bank, server):
    """A slow one does not, and neither does one that waits for a lock: the server still answers others."""
    with begin(bank.engine) as connection:
        connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": postgresql.SILENCE_SECONDS + 2})

    with bank.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        frozen = Frozen(server)
        frozen.leave()
        try:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="silent"), outages("it was asked"):
                connection.execute(text("SELECT 1"))
            took = time.monotonic() - began
        finally:
            frozen.come_back()
    assert took < 2 * postgresql.SILENCE_SECONDS + 2
    assert answers(bank), "the next connection is a new one"
