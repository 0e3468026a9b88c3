"""The scheduler runs the tick engine inside periodiq's loop.

periodiq's loop ends on a failed send, forgets what was due while it was away, and leaves SIGTERM to the kernel, which
ignores it for a container's first process. So it is shown one actor only, the stand-in: always due, never failing, and
running the tick engine when it is "sent".
"""

import logging
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from types import FrameType
from typing import Any, Final, NoReturn, cast

import structlog
from sqlalchemy.exc import SQLAlchemyError

from scheduling import metrics
from scheduling.checkins import CheckIns
from scheduling.schedule import Schedule, check_names
from scheduling.ticks import TickEngine
from workers import adoption, exposition, logs
from workers.errors import AnotherStore, DutifulError
from workers.job_broker import JobBroker
from workers.metrics import build_info
from workers.rabbitmq import DutifulBroker
from workers.settings import settings

INTERVAL = timedelta(seconds=5)
GRACE = timedelta(seconds=3)
_PORT = 9192
_EXIT_ANOTHER_STORE: Final = 67

_STAND_IN = "scheduling.tick"
# Under a second: periodiq sleeps longer times with alarm() and a lock that its signal handler needs as well. Paused
# between the two, it would wait for ever.
_NAP = timedelta(milliseconds=900)

_log = structlog.stdlib.get_logger("dutiful.schedules")


class Wakeups:
    """A spec, as periodiq knows specs, that is due every five seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic()

    def __str__(self) -> str:
        return f"every {INTERVAL.seconds} seconds"

    def validate(self, moment: datetime) -> bool:  # noqa: ARG002  periodiq's signature
        """Whether five seconds have passed, by a clock that nobody sets."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + INTERVAL.total_seconds()
        return True

    def next_valid_date(self, moment: datetime) -> datetime:  # noqa: ARG002  periodiq's signature
        """A moment from now, and not from the moment given: that could have passed, and periodiq would call itself."""
        return datetime.now(UTC) + _NAP


class Stop:
    """SIGTERM and SIGINT end the process with status 0: at once, or when the tick in hand is done.

    A tick in hand gets three seconds, or none on a second signal. What it had recorded is published by the next start.
    """

    def __init__(self) -> None:
        self._asked = False
        self._busy = False

    def listen(self) -> None:
        """Take over the signals of this process."""
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def __enter__(self) -> None:
        self._busy = True
        self._leave_if_asked()

    def __exit__(self, *_: object) -> None:
        self._busy = False
        self._leave_if_asked()

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        if self._asked or not self._busy:
            _leave()
        self._asked = True
        signal.signal(signal.SIGALRM, self._ask)
        signal.setitimer(signal.ITIMER_REAL, GRACE.total_seconds())

    def _leave_if_asked(self) -> None:
        if self._asked:
            _leave()


def _leave() -> NoReturn:
    # The alarm may ring while Python ends, when nobody listens any more, and would be taken for a death.
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise SystemExit(0)


class StandIn:
    """What periodiq takes for an actor; the attributes are those that it reads."""

    actor_name = _STAND_IN
    queue_name = "timetable"

    def __init__(self, broker: JobBroker, engine: TickEngine, stop: Stop) -> None:
        self.fn = engine.run_once
        self.options = {"periodic": Wakeups()}
        self._broker = broker
        self._engine = engine
        self._stop = stop
        self._belongs = not isinstance(broker, DutifulBroker)  # in memory there is no vhost

    def __str__(self) -> str:
        return _STAND_IN

    def send_with_options(self, **_: Any) -> None:
        """Run the tick engine; it never raises.

        Raises:
          SystemExit: the vhost belongs to another store, whose schedulers would publish the same ticks.
        """
        with self._stop:
            self._refuse_another_store()
            self._engine.run_once()

    def _refuse_another_store(self) -> None:
        if self._belongs:
            return
        try:
            adoption.belong(cast("DutifulBroker", self._broker))
        except AnotherStore as error:
            _log.critical("vhost_of_another_store", error=str(error))
            raise SystemExit(_EXIT_ANOTHER_STORE) from None
        except (DutifulError, SQLAlchemyError) as error:
            # Not to be told yet. The engine says what is away; and before its first message the vhost is asked again.
            _log.debug("the vhost's store is not known yet", error=str(error))
        else:
            self._belongs = True


def install(broker: JobBroker, timetable: Sequence[Schedule]) -> None:
    """Make this process a scheduler of the timetable once periodiq's loop runs. A second call replaces the first.

    Raises:
      ScheduleError: two schedules have one name.
      SystemExit: the port of /metrics and /health is taken.
    """
    check_names(timetable)
    chosen = settings()
    logs.configure(level=chosen.logs.level, form=chosen.logs.format, environment=chosen.environment)
    # It writes a line at each wake-up, and knows only the stand-in; the engine logs the ticks.
    logging.getLogger("periodiq").setLevel(logging.WARNING)
    stop = Stop()
    stop.listen()
    dsn = chosen.sentry.dsn.get_secret_value() if chosen.sentry.dsn else None
    engine = TickEngine(broker.store, timetable, checkins=CheckIns(dsn, chosen.environment))
    port = _PORT if chosen.metrics.port is None else chosen.metrics.port
    build_info.labels(version("dutiful"), chosen.revision, chosen.environment).set(1)
    exposition.server(chosen.metrics.host, port, metrics.text, engine.problems)
    # Not declared, as an actor would be: it has no queue, and no worker may ever see it.
    broker.actors[_STAND_IN] = StandIn(broker, engine, stop)  # type: ignore[assignment]
    _log.info("scheduler_started", schedules={schedule.name: str(schedule.when) for schedule in timetable})
