"""The schedules run here: `periodiq scheduling` imports this package and becomes a scheduler.

    timetable  every schedule, one a line
    schedule   what one line says
    cron       when a schedule is due
    ticks      records what is due, then publishes it
    scheduler  runs that inside periodiq's loop

Imported by anything but periodiq's command, the package does nothing: no process but a scheduler has the stand-in.
"""

import sys

if "periodiq" in sys.modules:
    from scheduling.scheduler import install
    from scheduling.timetable import TIMETABLE
    from workers.broker import setup_broker

    install(setup_broker(), TIMETABLE)
