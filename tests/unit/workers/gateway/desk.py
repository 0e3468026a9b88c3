"""Actors that the gateway's tests ask for."""

import dramatiq
from pydantic import BaseModel, Field

from workers import PermanentFailure, actor
from workers.broker import setup_broker

setup_broker()
CARD = {"queue_name": "desk", "owner": "tests", "expects": "nothing happens", "rollback": "none"}


class Line(BaseModel):
    item: str = Field(min_length=1)
    count: int = Field(ge=1)


@actor(**CARD, actor_name="desk.order")
def order(number: int, lines: list[Line], note: str = "") -> None:
    """Keep the message's id as its key."""


@actor(**CARD, actor_name="desk.mail", key="{address}:{day}")
def mail(address: str, day: int) -> None:
    """Have a key of its own."""


@actor(**CARD, actor_name="desk.ping", key=None)
def ping() -> None:
    """Keep no record."""


@dramatiq.actor(actor_name="desk.plain", queue_name="desk")
def plain(n):
    """Have neither contract nor card."""


@actor(**CARD, actor_name="desk.fail", max_retries=1)
def fail(*, permanently: bool) -> None:
    """Fail, for good or not."""
    if permanently:
        raise PermanentFailure("never", expected="a user", received="nobody")
    raise RuntimeError("not yet")
