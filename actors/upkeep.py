"""Keeps the runtime in order, and shows that it works."""

from datetime import timedelta

from workers import actor, upkeep


@actor(
    actor_name="upkeep.purge",
    queue_name="site",
    time_limit=timedelta(minutes=15),
    hard_time_limit=timedelta(minutes=20),
    max_retries=2,
    owner="platform",
    expects="what the store need not remember is gone: old keys, ticks, groups, leases, lines of the audit trail",
    rollback="none: what went was not needed; a longer DUTIFUL_STORE__KEY_TTL_SECONDS keeps more the next time",
)
def purge() -> None:
    """Remove what nobody needs any more, as `dutiful store purge` does."""
    upkeep.remove_old_rows()


@actor(
    actor_name="upkeep.canary",
    queue_name="site",
    time_limit=timedelta(seconds=30),
    max_retries=0,
    owner="platform",
    expects="a probe is on its way through every queue",
    rollback="none needed: it changes nothing",
)
def canary() -> None:
    """Send a probe through every queue: from the clock to a worker, the whole path is used once a minute."""
    upkeep.send_through_every_queue(probe)


@actor(
    actor_name="upkeep.probe",
    queue_name="site",
    key=None,
    time_limit=timedelta(seconds=10),
    max_retries=0,
    owner="platform",
    expects="dutiful_jobs_finished_total of upkeep.probe grows by one a minute in each queue",
    rollback="none needed: it changes nothing",
)
def probe(queue: str) -> None:
    """Do nothing: that it ran, and when, is what the metrics count of every job."""
