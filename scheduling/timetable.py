"""The timetable lists every schedule, one a line."""

from datetime import timedelta

from actors import sitemap, upkeep
from scheduling.cron import Cron
from scheduling.every import Every
from scheduling.schedule import Schedule, check_names

_SHORTLY = timedelta(minutes=10)

TIMETABLE = (
    # name, actor, when, arguments, owner; what else may be said: scheduling/schedule.py
    Schedule("sitemap-nightly", sitemap.build, Cron("30 2 * * *"), {"reason": "nightly"}, owner="content"),
    Schedule("store-purge-nightly", upkeep.purge, Cron("15 3 * * *"), owner="platform"),
    Schedule("canary", upkeep.canary, Every(60), owner="platform", missed="skip", overlap="skip", max_open=_SHORTLY),
)

check_names(TIMETABLE)
