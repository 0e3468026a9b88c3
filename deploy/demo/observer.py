"""Looks at the demo's stack from outside: its database, its queues, its metrics."""

import base64
import json
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Engine, create_engine, text

from deploy.demo.figures import Figures

OPEN_JOBS = text("SELECT count(*) FROM dutiful_keys WHERE state NOT IN ('done', 'dead')")
DONE_JOBS = text("SELECT count(*) FROM dutiful_keys WHERE state = 'done'")
SITEMAPS = text("SELECT count(*) FROM dutiful_keys WHERE actor = 'sitemap.build' AND state = 'done'")
FEED = text("SELECT state, imported + unchanged + conflicting + rejected FROM feeds ORDER BY id LIMIT 1")
COUNTS = text(
    "SELECT (SELECT count(*) FROM posts), (SELECT count(*) FROM rejections), (SELECT count(*) FROM dutiful_outbox)"
)


@dataclass(frozen=True)
class Sight:
    """The stack at one moment."""

    state: str = ""  # of the feed: reading, read, done, failed
    records: int = 0  # that have been dealt with
    posts: int = 0
    rejections: int = 0
    open_jobs: int = 0
    sitemaps: int = 0
    unsent: int = 0
    waiting: int = 0  # messages in the queues, handed out or not; dead letters apart

    @property
    def work(self) -> tuple[object, ...]:
        """What the database says; RabbitMQ's counts come later."""
        return self.state, self.records, self.posts, self.open_jobs, self.sitemaps, self.unsent

    @property
    def is_dry(self) -> bool:
        """Whether no message is left anywhere, so that nothing can happen any more but what runs now."""
        return not self.unsent and not self.waiting

    @property
    def finished(self) -> bool:
        """Whether all that was asked for has been done."""
        return self.is_dry and not self.open_jobs and self.state in {"done", "failed"} and self.sitemaps > 0


class Observer:
    """Sees what a stack does; it changes nothing."""

    def __init__(self, store_url: str, amqp_url: str, management: str, metrics: str) -> None:
        self.engine: Engine = create_engine(store_url, pool_pre_ping=True)
        broker = urllib.parse.urlsplit(amqp_url)
        self.queues = (
            f"{management}/api/queues/{broker.path.removeprefix('/')}?disable_stats=true&enable_queue_totals=true"
        )
        login = f"{urllib.parse.unquote(broker.username or '')}:{urllib.parse.unquote(broker.password or '')}"
        self.login = base64.b64encode(login.encode()).decode()
        self.figures = Figures(metrics)

    def look(self) -> Sight:
        """Return what there is to see now."""
        self.figures.read()
        waiting = sum(count for name, count in self.depths().items() if not name.endswith(".XQ"))
        with self.engine.connect() as connection:
            state, records = (connection.execute(FEED).one_or_none()) or ("", 0)
            posts, rejections, unsent = connection.execute(COUNTS).one()
            open_jobs = connection.execute(OPEN_JOBS).scalar_one()
            sitemaps = connection.execute(SITEMAPS).scalar_one()
        return Sight(state, records, posts, rejections, open_jobs, sitemaps, unsent, waiting)

    def jobs_done(self) -> int:
        """Return how many jobs have succeeded."""
        with self.engine.connect() as connection:
            return int(connection.execute(DONE_JOBS).scalar_one())

    def depths(self) -> dict[str, int]:
        """Return how many messages each queue holds, those that are handed out included."""
        request = urllib.request.Request(self.queues, headers={"Authorization": f"Basic {self.login}"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  the stack's own RabbitMQ
            return {queue["name"]: queue.get("messages", 0) for queue in json.load(answer)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()
