"""A site with one job and one schedule, which `periodiq minutely` runs."""

from scheduling.cron import Cron
from scheduling.schedule import Schedule
from scheduling.scheduler import install
from workers import actor
from workers.broker import setup_broker

broker = setup_broker()


@actor(
    actor_name="site.sweep",
    queue_name="sweeping",
    owner="content",
    expects="the room is swept",
    rollback="none",
)
def sweep(room: str) -> None: ...


install(broker, [Schedule("sweep", sweep, Cron("* * * * *"), {"room": "hall"}, owner="content")])
