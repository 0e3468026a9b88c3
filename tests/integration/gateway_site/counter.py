"""Jobs that are asked for over HTTP; each leaves a line in the file that SHOP_LEDGER names.

Whoever writes "before" or "after" into the file that COUNTER_DIES names has the process that publishes next die there.
"""

import os
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import dramatiq
from pydantic import BaseModel, Field

from workers import PermanentFailure, actor, current_job
from workers.broker import setup_broker

broker = setup_broker()
CARD = {"queue_name": "shop", "owner": "tests", "expects": "a line in the ledger", "rollback": "none"}


class Mortal(dramatiq.Middleware):
    """Ends its process without a word, once, where it is told to."""

    def before_enqueue(self, *_: Any) -> None:
        self._die("before")

    def after_enqueue(self, *_: Any) -> None:
        self._die("after")

    def _die(self, where: str) -> None:
        told = Path(os.environ.get("COUNTER_DIES", "nowhere"))
        if told.exists() and told.read_text() == where:
            told.unlink()
            os._exit(1)


broker.add_middleware(Mortal())


class Line(BaseModel):
    item: Annotated[str, Field(min_length=1, max_length=20)]
    count: Annotated[int, Field(ge=1, le=1000)]
    kind: Literal["new", "used"] = "new"


def write(*words: object) -> None:
    with Path(os.environ["SHOP_LEDGER"]).open("a") as ledger:
        ledger.write(" ".join(map(str, words)) + "\n")


@actor(**CARD)
def order(number: int, lines: list[Line], note: str | None = None) -> None:
    write("order", number, current_job().id)


@actor(**CARD, key="{address}:{day}")
def mail(address: Annotated[str, Field(pattern=r"^[a-z]{1,20}$")], day: int) -> None:
    write("mail", address, day)


@actor(**CARD, key=None)
def ping(words: dict[str, int]) -> None:
    write("ping", len(words))


@actor(**CARD)
def slow(seconds: float) -> None:
    time.sleep(seconds)
    write("slow")


@actor(**CARD)
def hopeless() -> None:
    raise PermanentFailure("never", expected="a user", received="nobody")
