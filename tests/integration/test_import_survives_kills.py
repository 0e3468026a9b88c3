"""The import ends in the same rows whatever process is killed, at whatever moment.

Short form: 10 kills, each kind of victim among them. `PROOF=1` makes it 60 on a larger feed. `SEED=` chooses other
moments, and another order of victims.
"""

import contextlib
import os
import random
import signal
import time

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from deploy.demo.expectation import ExpectedPost, read_expectation
from deploy.demo.feed import Shape, write_feed
from deploy.demo.service import Service
from deploy.local import StackError

PROOF = bool(os.environ.get("PROOF"))
KILLS, POSTS = (60, 5_000) if PROOF else (10, 800)
SEED = int(os.environ.get("SEED") or 20261122)
LONGEST_IMPORT_SECONDS = 240
# What is killed, and how often among ten: a worker process, Dramatiq's parent, the whole worker, a server.
VICTIMS = ["child"] * 5 + ["parent", "worker", "scheduler", "rabbitmq", "postgres"]
# Which run found it, and when, is not what was found.
ROWS = {
    "posts": "SELECT to_jsonb(posts)::text FROM posts ORDER BY 1",
    "rejections": "SELECT (to_jsonb(rejections) - 'feed_id' - 'closed_at')::text FROM rejections ORDER BY 1",
}


class Site:
    """A site on a stack of its own, with a feed to import."""

    def __init__(self, stack, folder):
        for name in ("feeds", "public"):
            (folder / name).mkdir()
        self.folder = folder
        environment = {
            "SITE_FEEDS_DIRECTORY": str(folder / "feeds"),
            "SITE_PUBLIC_DIRECTORY": str(folder / "public"),
            "SITE_BATCH_RECORDS": "10",
            "DUTIFUL_RETRIES__MIN_BACKOFF_SECONDS": "1",
        }
        write_feed(Shape(posts=POSTS, seed=SEED), folder / "feeds" / "posts.ndjson", folder / "expected")
        self.expected = list(read_expectation(folder / "expected"))
        self.stack = stack(services=["worker", "scheduler"], overrides={"worker": {"environment": environment}})
        # One attempt at a time: the kill may take this connection as well.
        self.engine = create_engine(self.stack.environment["DUTIFUL_STORE__URL"], pool_pre_ping=True)

    def publish(self):
        """Ask for the import, and go on asking under the same id until the broker has it: that is one job."""
        asked = ""
        deadline = time.monotonic() + 60
        while True:
            try:
                service = Service(self.stack.environment["DUTIFUL_RABBITMQ__URL"])
                asked = service.ask("content.import_feed", "content", {"source": "posts.ndjson"}, asked)
                service.close()
                return
            except Exception:  # noqa: BLE001  RabbitMQ may have been killed a moment ago
                assert time.monotonic() < deadline, "RabbitMQ did not come back"
                time.sleep(0.2)

    def forget(self):
        with self.engine.begin() as connection:
            connection.execute(text("TRUNCATE posts, rejections, feeds, feed_batches"))

    def rows(self):
        with self.engine.begin() as connection:
            return {table: connection.execute(text(query)).scalars().all() for table, query in ROWS.items()}

    def query(self, statement):
        with contextlib.suppress(DBAPIError), self.engine.begin() as connection:
            return connection.execute(text(statement)).scalars().all()
        return None

    def is_done(self):
        """The feed is imported, no job is open, and nothing waits to be sent."""
        return (
            self.query("SELECT state FROM feeds") == ["done"]
            and self.query("SELECT actor FROM dutiful_keys WHERE state NOT IN ('done', 'dead')") == []
            and self.query("SELECT message_id FROM dutiful_outbox") == []
            and self.query("SELECT count(*) FROM dutiful_keys WHERE actor = 'sitemap.build'") != [0]
        )

    def kill(self, victim, chance):
        with contextlib.suppress(StackError, ProcessLookupError, IndexError):  # it may be down from the last kill
            if victim == "child":
                os.kill(chance.choice(self.stack.children("worker")[:2]), signal.SIGKILL)
            elif victim == "parent":
                os.kill(self.stack.pid("worker"), signal.SIGKILL)
            else:
                self.stack.kill(victim)
            return victim
        return None

    def messages(self):
        """What lies anywhere on the broker, by queue, and how that queue is; RabbitMQ counts every five seconds."""
        url = self.stack.environment["DUTIFUL_RABBITMQ__URL"]
        who = url.split("//")[1].split("@")[0].split(":")
        with httpx.Client(base_url=self.stack.url("rabbitmq", 15672), auth=(who[0], who[1]), timeout=30) as client:
            found = client.get("/api/queues/dutiful").raise_for_status().json()
        told = ("messages", "messages_ready", "state", "leader", "consumers", "message_bytes_dlx")
        return {queue["name"]: [queue.get(each) for each in told] for queue in found if queue.get("messages")}


@pytest.fixture
def site(stack, tmp_path):
    site = Site(stack, tmp_path)
    yield site
    site.engine.dispose()


def wait_until(true, seconds, explain):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.1)


@pytest.mark.long
@pytest.mark.timeout(3000 if PROOF else 600)
def test_killing_any_process_at_any_moment_changes_no_row(site):
    chance = random.Random(SEED)
    site.publish()
    wait_until(site.is_done, LONGEST_IMPORT_SECONDS, lambda: "the undisturbed import did not end")
    undisturbed = site.rows()
    assert len(undisturbed["posts"]) == sum(isinstance(each, ExpectedPost) for each in site.expected)
    assert undisturbed["rejections"]

    killed, victims = [], chance.sample(VICTIMS, len(VICTIMS))
    while len(killed) < KILLS:
        site.forget()
        site.publish()
        deadline = time.monotonic() + LONGEST_IMPORT_SECONDS
        while not site.is_done():
            assert time.monotonic() < deadline, f"after {killed}: {site.query('SELECT state, error FROM feeds')}"
            if len(killed) < KILLS:
                time.sleep(chance.uniform(0.0, 1.5))
                killed += filter(None, [site.kill(victims[len(killed) % len(VICTIMS)], chance)])
            else:
                time.sleep(0.1)
        assert site.rows() == undisturbed, f"seed {SEED}, after {killed}"
    wait_until(lambda: site.messages() == {}, 120, lambda: f"left on the broker: {site.messages()}")
    figures = {victim: killed.count(victim) for victim in sorted(set(killed))}
    print(f"{len(killed)} kills, seed {SEED}: {figures}")  # noqa: T201  the proof's figures, shown with -s
