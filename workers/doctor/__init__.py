"""The doctor says, before there is traffic, what would not work, and the command that mends it.

    examination  all checks, in the order in which they are read
    line         what one check says
    jobs         contracts, time limits, the timetable, how long keys are kept
    rabbitmq     reachable, version, topology, policies, consumer_timeout, alarms; rights asks what the user may do
    store        schema, and which store the vhost belongs to; clocks compares those of all three
    host         SQLite's volume, room on disks, the folder of the counters
    exposure     settings that let others in, or let them listen

It changes nothing.
"""
