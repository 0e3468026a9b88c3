"""Runs the main job on real servers, disturbs it, then checks what it left behind."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import text

from deploy.demo import checks
from deploy.demo.checks import Check
from deploy.demo.display import Display, ImportBar
from deploy.demo.expectation import ExpectedPost, ExpectedRejection, read_expectation
from deploy.demo.feed import Shape, write_feed
from deploy.demo.observer import Observer, Sight
from deploy.demo.service import Service
from deploy.local import Stack, StackError

FEED = "posts.ndjson"
BASE_URL = "https://site.example"
POLL_SECONDS = 0.1
PATIENCE_SECONDS, SLOWEST_RECORDS = 100.0, 300.0  # waits so long, and longer if it had to do fewer records a second
QUIET_SECONDS = 60.0  # without any change, though messages wait: longer than a lease and the first delays of a retry
DRY_SECONDS = 8.0  # without any change, and no message anywhere: longer than RabbitMQ's counts may be late
COUNTED_SECONDS = 6.0  # RabbitMQ counts the messages of a quorum queue anew every five seconds
KILL_AT = (1 / 3,)  # shares of the records; behind each a worker process is killed
KILL_OFTEN_AT = (0.2, 0.4, 0.6)  # until a worker that settles too early has certainly lost something


@dataclass
class Demo:
    """One run of the demo on a stack that is up.

    Attributes:
      stack: the running stack.
      site: the folder with feeds/ and public/.
      shape: the feed's.
      sabotage: what is broken on purpose; empty: nothing.
    """

    stack: Stack
    observer: Observer
    site: Path
    shape: Shape
    display: Display
    sabotage: str = ""
    records: int = 0
    kills: int = 0
    worked: float = 0.0  # when work was last seen to be done
    seconds: float = 0.0  # that the import took
    posts: dict[str, ExpectedPost] = field(default_factory=dict)
    rejections: list[ExpectedRejection] = field(default_factory=list)
    poisoned: dict[str, str] = field(default_factory=dict)

    def run(self) -> list[Check]:
        """Generate, publish, disturb, wait; return what was checked."""
        self.write_feed()
        self.prepare_sabotage()
        self.publish()
        started = self.worked = time.monotonic()
        with self.display.importing(self.records) as bar:
            self.watch(bar)
        self.seconds = max(self.worked - started, POLL_SECONDS)
        self.let_counts_settle()
        return list(self.checks())

    def write_feed(self) -> None:
        """Write the feed, and keep what must come of it."""
        feed = self.site / "feeds" / FEED
        expectation = feed.with_suffix(".expected")
        counts = write_feed(self.shape, feed, expectation)
        for expected in read_expectation(expectation):
            if isinstance(expected, ExpectedPost):
                self.posts[expected.source_id] = expected
            else:
                self.rejections.append(expected)
        self.display.say(
            f"a feed of {counts['records']:,} records, {counts['bytes'] / 1e6:.0f} MB: {counts['posts']:,} posts,"
            f" {counts['rejections']:,} broken records; the rest are duplicates and other versions"
        )
        self.records = counts["records"]

    def prepare_sabotage(self) -> None:
        """Make room for what the sabotaged worker will do."""
        if self.sabotage == "double":
            with self.observer.engine.begin() as connection:
                connection.execute(text("ALTER TABLE posts DROP CONSTRAINT posts_pkey"))
        if self.sabotage:
            self.display.say(f"sabotage: {self.sabotage}; the checks must notice it")

    def publish(self) -> None:
        """Ask for the import twice, under one message id, and for one job that no worker can do."""
        service = Service(self.stack.environment["DUTIFUL_RABBITMQ__URL"])
        request = service.ask("content.import_feed", "content", {"source": FEED})
        service.ask("content.import_feed", "content", {"source": FEED}, request)
        poison = service.ask("content.import_batch", "content", {"feed": "no number", "number": -1})
        self.poisoned = {poison: "contract"}
        service.close()
        self.display.say(
            "published by plain AMQP: the import, the same message again, and one message that breaks its contract"
        )

    def watch(self, bar: ImportBar) -> None:
        """Look on until everything is done, or until nothing changes any more; kill a worker process on the way."""
        deadline = time.monotonic() + PATIENCE_SECONDS + self.records / SLOWEST_RECORDS
        kills = KILL_OFTEN_AT if self.sabotage == "ack-first" else KILL_AT
        seen, changed = Sight(), time.monotonic()
        while time.monotonic() < deadline:
            before, seen = seen, self.observer.look()
            bar.show(seen)
            if seen != before:
                changed = time.monotonic()
            if seen.work != before.work:
                self.worked = changed
            if time.monotonic() - changed > (DRY_SECONDS if seen.is_dry else QUIET_SECONDS):
                break
            if seen.finished:
                return
            if seen.open_jobs and len(kills) > self.kills and seen.records >= kills[self.kills] * self.records:
                self.kill_worker()
            time.sleep(POLL_SECONDS)
        self.display.say("gave up waiting; the checks say what is missing")

    def let_counts_settle(self) -> None:
        """Wait until RabbitMQ has counted its messages since the last work, and until a late one has gone its way."""
        while (idle := time.monotonic() - self.worked) < QUIET_SECONDS:
            if idle > COUNTED_SECONDS and checks.check_queues(self.observer.depths()).holds:
                break
            time.sleep(POLL_SECONDS)
        self.observer.figures.read()

    def kill_worker(self) -> None:
        """Kill one worker process, without a warning, while it works."""
        self.observer.figures.read()  # the last chance: its counters may go with it
        try:
            self.stack.kill("worker", child=0)
        except StackError:
            return  # it is being restarted after the kill before; the next look tries again
        self.kills += 1
        self.display.say("killed a worker process with SIGKILL")

    def checks(self) -> Iterator[Check]:
        """Yield everything that must hold now."""
        with self.observer.engine.connect() as connection:
            yield from checks.check_posts(connection, self.posts)
            yield from checks.check_rejections(connection, self.rejections)
            yield from checks.check_jobs(connection)
        depths = self.observer.depths()
        yield checks.check_queues(depths)
        service = Service(self.stack.environment["DUTIFUL_RABBITMQ__URL"])
        yield checks.check_dead_letters(service.channel, depths.keys(), self.poisoned)
        service.close()
        yield checks.check_sitemap(self.site / "public", BASE_URL, self.posts.values())
        yield Check("a worker process was killed on the way", "1 or more", str(self.kills), self.kills > 0)

    def figures(self) -> list[tuple[str, str, str]]:
        """Return the table: what, how much, where from."""
        figures, metrics = self.observer.figures, "worker metrics"
        jobs = self.observer.jobs_done()
        rows = [
            ("jobs", f"{jobs:,}", "the store: keys that are done"),
            ("jobs/s", f"{jobs / self.seconds:,.1f}", f"over {self.seconds:.1f} s, restart included"),
            ("records/s", f"{self.records / self.seconds:,.0f}", "the same"),
        ]
        for name, metric in (("wait", "dutiful_job_wait_seconds"), ("run time", "dutiful_job_duration_seconds")):
            for share in (0.5, 0.99):
                found = figures.quantile(metric, share)
                where = f"{metrics}: between {found.low:g} and {found.high:g} s"
                rows.append((f"{name}, p{share * 100:.0f}", f"{found.value:.3f} s", where))
        duplicates = len(checks.suppressed(self.stack.logs("worker")))
        return [
            *rows,
            ("duplicates suppressed", f"{duplicates:,}", "the worker's log"),
            ("redeliveries", f"{figures.count('dutiful_redeliveries_total'):,}", metrics),
        ]
