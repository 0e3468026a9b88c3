"""The clocks of this host, the store and RabbitMQ must agree: schedules, leases and expiries go by them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from workers import clock
from workers.doctor.line import Line, ok, refused, unknown, wrong
from workers.doctor.store import open_again
from workers.errors import StoreUnavailable
from workers.management import CORRECT, SET, Management, ManagementUnavailable
from workers.store.engine import begin, now, read_only

# A quarter of a lease. A tick that a scheduler with a slower clock is late by is still in time.
MOST: Final = timedelta(seconds=5)
_CHECK: Final = "clocks"


def store_clock(engine: Engine) -> list[Line]:
    """This host against the store; an embedded one has this host's clock."""
    if engine.dialect.name == "sqlite":
        return ok(_CHECK, "the store has this host's clock")

    def read() -> datetime:
        with begin(read_only(engine)) as connection:
            return now(connection)

    try:
        return compared("the store", *_read(read))
    except StoreUnavailable as error:
        return [refused(_CHECK, error, mend=open_again(error))]


def broker_clock(management: Management | None) -> list[Line]:
    """This host against RabbitMQ's."""
    if management is None:
        return unknown(_CHECK, "AMQP does not tell RabbitMQ's time", mend=SET)
    try:
        return compared("RabbitMQ", *_read(management.time))
    except ManagementUnavailable as error:
        return [refused(_CHECK, error, mend=CORRECT)]


def compared(whose: str, here: datetime, there: datetime) -> list[Line]:
    """Whether two clocks agree."""
    apart = there - here
    if abs(apart) <= MOST:
        return ok(_CHECK, f"{whose} and this host agree to {abs(apart).total_seconds():.1f} s")
    way = "ahead of" if apart > timedelta(0) else "behind"
    return [
        wrong(
            _CHECK,
            f"the clock of {whose} is {way} this host's",
            expected=f"{MOST.total_seconds():.0f} s apart at most",
            received=f"{abs(apart).total_seconds():.1f} s",
            mend="timedatectl set-ntp true # on the host whose clock is wrong",
        )
    ]


def _read(ask: Callable[[], datetime]) -> tuple[datetime, datetime]:
    """This host's time at the middle of the question, and the other's."""
    before = clock.utcnow()
    there = ask()
    return before + (clock.utcnow() - before) / 2, there
