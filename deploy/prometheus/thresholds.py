"""Says in one place when somebody is told; every number of the rules is here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Where a site keeps its own: change them here, then `make dashboards`.
DASHBOARDS: Final = "http://127.0.0.1:3000"
RUNBOOKS: Final = "https://dutiful.example/runbooks"


@dataclass(frozen=True)
class Burn:
    """How fast the error budget may be spent.

    Parameters:
      factor: so many times faster than the objective allows.
      long, short: both windows must show it: the long one that it matters, the short one that it goes on.
      lasts: for how long.
      severity: page or ticket.
    """

    factor: float
    long: str
    short: str
    lasts: str
    severity: str


@dataclass(frozen=True)
class Thresholds:
    """The objectives, and what is too much, too old or too long. Times are in seconds, shares between 0 and 1."""

    burns: tuple[Burn, ...] = (
        Burn(14.4, "1h", "5m", "2m", "page"),
        Burn(6, "6h", "30m", "15m", "page"),
        Burn(3, "1d", "2h", "1h", "ticket"),
        Burn(1, "3d", "6h", "3h", "ticket"),
    )
    failed_share: float = 0.01
    """The objective: so many of the jobs that end may be dead letters."""
    failed_jobs: float = 50
    """Below so many ended jobs in the long window nobody is told: one failure in a quiet night is no trend."""
    slow_wait: float = 30
    """The objective: a job begins within so many seconds. A bucket of dutiful_job_wait_seconds ends exactly there."""
    slow_share: float = 0.1
    """So many of the jobs may wait longer."""
    oldest_job: float = 300
    stuck_minutes: int = 10
    no_consumers_minutes: int = 5
    dead_letters: float = 0
    """How many may be added in 15 minutes."""
    schedule_late: float = 120
    missed_periods: float = 3
    """So many periods without a success make a schedule a failing one."""
    restarts: float = 3
    """How many in 15 minutes."""
    time_limits: float = 0
    """How many in 15 minutes."""
    silent: float = 60
    store_down_minutes: int = 2
    blocked_minutes: int = 2
    outbox_old: float = 60
    workers_down_minutes: int = 2
    scheduler_down_minutes: int = 5
    rabbitmq_down_minutes: int = 1
    mixed_versions_minutes: int = 30
    deploy_factor: float = 2
    """So many times the share of an hour ago, and then `deploy_more` more, is a change for the worse."""
    deploy_more: float = 0.01
