"""The same empty job twice: in a thread of the worker, and in a child process of it."""

from typing import Final

from workers import actor
from workers.broker import setup_broker

setup_broker()

CARD: Final = {"queue_name": "bench", "key": None, "owner": "bench", "expects": "a line", "rollback": "none"}


def empty() -> None:
    """Do nothing."""


in_thread = actor(**CARD, actor_name="in_thread")(empty)
in_child = actor(**CARD, actor_name="in_child", isolated=True)(empty)
