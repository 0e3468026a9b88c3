"""Breaks the runtime on purpose, in the demo's own worker, so that the demo can show that it would notice.

The demo gives this module to `dramatiq` beside `actors` when it is asked to break something; nothing in production code
knows of it.
"""

import os
from collections.abc import Callable
from typing import Any, Final

KIND: Final = "DEMO_BREAK"
VICTIM: Final = "DEMO_VICTIM"


def skip_one() -> None:
    """Leave out one sound record, without a word."""
    from actors.content import storing  # noqa: PLC0415  the demo imports this module too, and needs no actors

    victim = os.environ[VICTIM]
    original = storing._store_posts  # noqa: SLF001  the narrowest place through which every sound record goes

    def store(connection: Any, rows: list[dict[str, Any]]) -> Any:
        return original(connection, [row for row in rows if row["source_id"] != victim])

    storing._store_posts = store  # noqa: SLF001


def double() -> None:
    """Let each batch take effect twice: the demo has dropped the key of its posts before."""
    from actors.content import storing  # noqa: PLC0415
    from actors.content.checkpoints import Counts  # noqa: PLC0415
    from actors.content.tables import posts  # noqa: PLC0415

    def store(connection: Any, rows: list[dict[str, Any]]) -> Any:
        for _ in range(2):
            if rows:
                connection.execute(posts.insert(), rows)
        return Counts(imported=len(rows))

    storing._store_posts = store  # noqa: SLF001


def ack_first() -> None:
    """Settle each message when it arrives, as a careless consumer would: a kill then loses what it holds."""
    from workers.consumer import RabbitmqConsumer  # noqa: PLC0415

    original = RabbitmqConsumer.__next__

    def next_settled(consumer: Any) -> Any:
        delivery = original(consumer)
        if delivery is not None:
            consumer._settle(delivery.tag, accepted=True)  # noqa: SLF001  the act itself
        return delivery

    RabbitmqConsumer.__next__ = next_settled  # type: ignore[assignment, method-assign]


KINDS: dict[str, Callable[[], None]] = {"skip-one": skip_one, "double": double, "ack-first": ack_first}

if os.environ.get(KIND):
    KINDS[os.environ[KIND]]()
