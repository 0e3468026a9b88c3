"""Check-ins tell Sentry that a schedule's job has begun and ended, so that it can miss one."""

from typing import Any, Final

import structlog

from scheduling.cron import NAMES, Cron
from scheduling.schedule import Schedule
from workers.store.ticks import Tick

_MARGIN_MINUTES: Final = 5
_MINUTE: Final = 60

_log = structlog.stdlib.get_logger("dutiful.schedules")


class CheckIns:
    """One monitor a schedule, made from its line in the timetable. Without a DSN nothing is sent.

    Sentry counts in minutes: a schedule that is due more often than that has no monitor.

    Parameters:
      dsn: where to; None: nowhere.
      environment: which one this is.
    """

    def __init__(self, dsn: str | None, environment: str) -> None:
        self._client: Any = None
        if dsn is not None:
            import sentry_sdk  # noqa: PLC0415  who has no DSN needs none of it

            sentry_sdk.init(dsn=dsn, environment=environment, default_integrations=False)
            self._client = sentry_sdk

    def published(self, schedule: Schedule, tick: Tick) -> None:
        """Its job may begin."""
        self._send(schedule, tick, "in_progress")

    def ended(self, schedule: Schedule, tick: Tick) -> None:
        """Its job has ended, well or not."""
        took = (tick.ended_at - tick.started_at).total_seconds() if tick.ended_at and tick.started_at else None
        self._send(schedule, tick, "ok" if tick.outcome == "succeeded" else "error", took)

    def _send(self, schedule: Schedule, tick: Tick, status: str, seconds: float | None = None) -> None:
        config = monitor(schedule)
        if self._client is None or config is None or tick.kind != "scheduled":
            return
        try:
            self._client.crons.capture_checkin(
                monitor_slug=schedule.name,
                check_in_id=tick.message_id.replace("-", ""),
                status=status,
                duration=seconds,
                monitor_config=config,
            )
        except Exception as error:  # noqa: BLE001  a report that isn't sent must stop no schedule
            _log.warning("checkin_failed", schedule=schedule.name, error=repr(error))


def monitor(schedule: Schedule) -> dict[str, Any] | None:
    """What Sentry must know to miss a run; None: it can't watch this schedule."""
    when = schedule.when
    if isinstance(when, Cron):
        rhythm: dict[str, Any] = {"type": "crontab", "value": NAMES.get(when.spec.strip().lower(), when.spec)}
        zone = when.timezone
    elif when.seconds % _MINUTE == 0:
        rhythm, zone = {"type": "interval", "value": when.seconds // _MINUTE, "unit": "minute"}, "UTC"
    else:
        return None
    return {
        "schedule": rhythm,
        "timezone": zone,
        "checkin_margin": _MARGIN_MINUTES + int(schedule.jitter.total_seconds() // _MINUTE),
        "max_runtime": max(1, int(schedule.max_open.total_seconds() // _MINUTE)),
    }
