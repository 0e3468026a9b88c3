"""The schedules run here: `periodiq scheduling` imports this package and becomes a scheduler.

    timetable    every schedule, one a line
    schedule     what one line says
    cron, every  when a schedule is due
    policy       which due times become jobs, and which are left out
    watch        what is late, and what was missed
    look         records that in one transaction, and what has become of earlier ticks
    ticks        publishes what was recorded, and tells the metrics, the log and checkins (Sentry)
    scheduler    runs that inside periodiq's loop
    desk         what operators ask and order

Imported by anything but periodiq's command, the package does nothing: no process but a scheduler has the stand-in.
"""

import sys

if "periodiq" in sys.modules:
    from scheduling.scheduler import install
    from scheduling.timetable import TIMETABLE
    from workers.broker import setup_broker

    install(setup_broker(), TIMETABLE)
