"""The timetable lists every schedule, one a line."""

from actors import sitemap
from scheduling.cron import Cron
from scheduling.schedule import Schedule, check_names

TIMETABLE = (
    # name, actor, when, arguments, owner
    Schedule("sitemap-nightly", sitemap.build, Cron("30 2 * * *"), {"reason": "nightly"}, owner="content"),
)

check_names(TIMETABLE)
