"""What each alert must do: series as Prometheus scrapes them, and who is told what at which minute.

Each alert fires, stays quiet and resolves. Values lie within a factor of three of their threshold on both sides, so
that a threshold which is changed by as much breaks a case.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One story.

    Parameters:
      series: what is scraped each minute, in promtool's notation.
      fires: at minute: for each alert that fires, its labels beside the fixed ones, and its description.
      quiet: minutes at which nobody is told.
    """

    alert: str
    about: str
    series: dict[str, str]
    fires: dict[float, list[tuple[dict[str, str], str]]] = field(default_factory=dict)
    quiet: tuple[float, ...] = ()


def info(queue, owner="team", actor="a", instance="w1", values="1x600"):
    return {f'dutiful_actor_info{{actor="{actor}",queue="{queue}",owner="{owner}",instance="{instance}"}}': values}


def schedule(name, owner="team", instance="s1", values="1x600"):
    return {f'dutiful_schedule_info{{schedule="{name}",actor="a",owner="{owner}",instance="{instance}"}}': values}


def ended(queue, dead, succeeded, instance="w1"):
    """Counters of ended jobs."""
    name = f'dutiful_jobs_finished_total{{queue="{queue}",actor="a",instance="{instance}",outcome='
    return {name + '"dead"}': dead, name + '"succeeded"}': succeeded}


def burning(share, window, objective="the objective allows 1%."):
    labels = {"queue": "q", "owner": "team", "window": window}
    return (labels, f"{share} of the jobs that ended in q over {window} are dead letters; {objective}")


def paused(kind, name):
    return {f'dutiful_paused{{kind="{kind}",name="{name}",instance="w1"}}': "1x600"}


BURN = "DutifulErrorBudgetBurn"
CASES = [
    Case(
        BURN,
        "30 % fail, on two instances, and then none",
        {
            **info("q"),
            **ended("q", "0+2x30 60x40", "0+4x70"),
            **ended("q", "0+1x30 30x40", "0+3x70", "w2"),
            **info("calm"),
            **ended("calm", "0+1x70", "0+999x70"),
        },
        {15: [burning("30%", "1h")]},
        (5, 61),
    ),
    Case(BURN, "10 % fail", {**info("q"), **ended("q", "0+1x600", "0+9x600")}, {30: [burning("10%", "6h")]}, (5, 15)),
    Case(BURN, "4 % fail", {**info("q"), **ended("q", "0+1x600", "0+24x600")}, {100: [burning("4%", "1d")]}, (15, 30)),
    Case(
        BURN, "2 % fail", {**info("q"), **ended("q", "0+1x600", "0+49x600")}, {200: [burning("2%", "3d")]}, (100, 150)
    ),
    Case(BURN, "half of what is allowed", {**info("q"), **ended("q", "0+1x600", "0+199x600")}, {}, (100, 200)),
    Case(BURN, "one failure of three jobs", {**info("q"), **ended("q", "0x10 1x300", "0x8 2x300")}, {}, (12, 20, 60)),
    Case(
        BURN,
        "a deploy gives the queue to another team",
        {
            **info("q", "old", values="1x10 _x90"),
            **info("q", "team", values="_x11 1x90"),
            **ended("q", "0+3x99", "0+7x99"),
        },
        {10: [({**burning("", "1h")[0], "owner": "old"}, burning("30%", "1h")[1])], 18: [burning("30%", "1h")]},
    ),
    Case(
        "DutifulJobsWaitTooLong",
        "a fifth of the jobs waits for more than 30 s, and then none",
        {
            **info("q"),
            'dutiful_job_wait_seconds_bucket{queue="q",le="30.0",instance="w1"}': "0+4x30 120+5x120",
            'dutiful_job_wait_seconds_bucket{queue="q",le="30.0",instance="w2"}': "0+4x30 120+5x120",
            'dutiful_job_wait_seconds_count{queue="q",instance="w1"}': "0+5x150",
            'dutiful_job_wait_seconds_count{queue="q",instance="w2"}': "0+5x150",
            **info("calm"),
            'dutiful_job_wait_seconds_bucket{queue="calm",le="30.0"}': "0+19x150",
            'dutiful_job_wait_seconds_count{queue="calm"}': "0+20x150",
        },
        {
            12: [
                (
                    {"queue": "q", "owner": "team"},
                    "20% of the jobs that began in q in the last hour had waited for more than 30 s.",
                )
            ]
        },
        (4, 45),
    ),
    Case(
        "DutifulOldestJob",
        "one of two instances gets nothing done",
        {
            **info("q"),
            'dutiful_queue_probe_timestamp_seconds{queue="q",instance="w1"}': "0x20 1260+60x40",
            'dutiful_queue_probe_timestamp_seconds{queue="q",instance="w2"}': "0+60x60",
            **info("calm"),
            'dutiful_queue_probe_timestamp_seconds{queue="calm",instance="w2"}': "0+60x60",
            **info("paused"),
            **paused("queue", "paused"),
            'dutiful_queue_probe_timestamp_seconds{queue="paused",instance="w1"}': "0x60",
        },
        {10: [({"queue": "q", "owner": "team"}, "A job sent to q 10m 0s ago may wait there still.")]},
        (6, 25),
    ),
    Case(
        "DutifulQueueStuck",
        "jobs wait and none ends, then they do",
        {
            **info("q"),
            **info("moves"),
            **info("empty"),
            **info("paused"),
            **paused("queue", "paused"),
            'rabbitmq_detailed_queue_messages{queue="paused",vhost="v",instance="r1"}': "5x60",
            'rabbitmq_detailed_queue_messages{queue="q",vhost="v",instance="r1"}': "5x60",
            'rabbitmq_detailed_queue_messages{queue="q.XQ",vhost="v",instance="r1"}': "5x60",
            'rabbitmq_detailed_queue_messages{queue="dutiful.delay.03",vhost="v",instance="r1"}': "5x60",
            'rabbitmq_detailed_queue_messages{queue="moves",vhost="v",instance="r2"}': "5x60",
            'rabbitmq_detailed_queue_messages{queue="empty",vhost="v",instance="r2"}': "0x60",
            'dutiful_job_attempts_total{queue="q",outcome="succeeded",instance="w1"}': "7x25 7+1x35",
            'dutiful_job_attempts_total{queue="moves",outcome="succeeded",instance="w2"}': "0+1x60",
        },
        {15: [({"queue": "q", "owner": "team"}, "5 jobs lie in q, and for a long time no attempt has ended there.")]},
        (9, 30),
    ),
    Case(
        "DutifulQueueStuck",
        "a single job is enough",
        {**info("q"), 'rabbitmq_detailed_queue_messages{queue="q",vhost="v",instance="r1"}': "0x5 1x30"},
        {20: [({"queue": "q", "owner": "team"}, "1 jobs lie in q, and for a long time no attempt has ended there.")]},
        (14,),
    ),
    Case(
        "DutifulQueueWithoutConsumers",
        "all consumers leave, and come back",
        {
            **info("q"),
            'rabbitmq_detailed_queue_consumers{queue="q",instance="r1"}': "2x5 0x30 2x20",
            'rabbitmq_detailed_queue_consumers{queue="q.XQ",instance="r1"}': "0x60",
            **info("paused"),
            **paused("queue", "paused"),
            'rabbitmq_detailed_queue_consumers{queue="paused",instance="r1"}': "0x60",
        },
        {15: [({"queue": "q", "owner": "team"}, "RabbitMQ counts no consumer on q.")]},
        (9, 40),
    ),
    Case(
        "DutifulOutboxStuck",
        "RabbitMQ takes nothing for a while",
        {
            'dutiful_outbox_oldest_seconds{instance="w1"}': "90x20 0x20",
            'dutiful_outbox_oldest_seconds{instance="w2"}': "0x40",
        },
        {5: [({}, "The oldest has waited for 1m 30s.")]},
        (1, 25),
    ),
    Case("DutifulOutboxStuck", "half a minute is nothing", {"dutiful_outbox_oldest_seconds": "30x40"}, {}, (5, 30)),
    Case(
        "DutifulUndeliverable",
        "a job has no queue, until it is replayed",
        {'rabbitmq_detailed_queue_messages{queue="dutiful.undeliverable"}': "0x5 1x20 0x10"},
        {10: [({}, "1 jobs lie in dutiful.undeliverable.")]},
        (4, 30),
    ),
    Case(
        "DutifulDeadLettersGrowing",
        "five dead letters, one a minute",
        {
            **info("q"),
            **info("calm"),
            'rabbitmq_detailed_queue_messages{queue="q.XQ",instance="r1"}': "0x20 0+1x5 5x60",
            'rabbitmq_detailed_queue_messages{queue="calm.XQ",instance="r1"}': "9x90",
            'rabbitmq_detailed_queue_messages{queue="q",instance="r1"}': "0+9x90",
        },
        {30: [({"queue": "q", "owner": "team"}, "About 5 were added in fifteen minutes.")]},
        (18, 75),
    ),
    Case(
        "DutifulTimeLimits",
        "one attempt is stopped for good, on one of two instances",
        {
            **info("q"),
            'dutiful_time_limits_total{actor="a",kind="hard",instance="w1"}': "0x10 1x90",
            'dutiful_time_limits_total{actor="a",kind="soft",instance="w1"}': "0x100",
            'dutiful_time_limits_total{actor="a",kind="hard",instance="w2"}': "0x100",
        },
        {15: [({"actor": "a", "kind": "hard", "owner": "team"}, "About 1 attempts were stopped in fifteen minutes.")]},
        (9, 60),
    ),
    Case(
        "DutifulTimeLimits",
        "a counter that stands still is over; a deploy changes the owner",
        {
            **info("q", "old", values="1x30 _x60"),
            **info("q", "team", values="_x31 1x60"),
            'dutiful_time_limits_total{actor="a",kind="soft",instance="w1"}': "7x40 8x90",
        },
        {50: [({"actor": "a", "kind": "soft", "owner": "team"}, "About 1 attempts were stopped in fifteen minutes.")]},
        (39, 85),
    ),
    Case(
        "DutifulFailingSinceDeploy",
        "1 % failed, 4 % fail since the new version, then it is rolled back",
        {
            'dutiful_build_info{version="1",instance="w1"}': "1x60 _x40 1x40",
            'dutiful_build_info{version="2",instance="w1"}': "_x61 1x39 _x40",
            **ended("q", "0+1x60 64+4x39 220+1x40", "0+99x60 6036+96x39 9780+99x40"),
        },
        {
            80: [
                (
                    {},
                    "4% of the jobs that end are dead letters, more than before.",
                )
            ]
        },
        (50, 62, 115),
    ),
    Case(
        "DutifulFailingSinceDeploy",
        "1 % failed, and 2.5 % is no clear change",
        {
            'dutiful_build_info{version="1",instance="w1"}': "1x60 _x40",
            'dutiful_build_info{version="2",instance="w1"}': "_x61 1x39",
            **ended("q", "0+2x60 125+5x39", "0+198x60 12075+195x39"),
        },
        {},
        (62, 80, 95),
    ),
    Case(
        "DutifulFailingSinceDeploy",
        "4 % fail, and nothing was deployed",
        {'dutiful_build_info{version="1"}': "1x140", **ended("q", "0+1x60 64+4x39", "0+99x60 6036+96x39")},
        {},
        (62, 80, 95),
    ),
    Case(
        "DutifulScheduleLate",
        "one schedule waits, seen by two schedulers, of which the newer knows another owner",
        {
            **schedule("nightly", owner="former", values="1x2 _x40"),
            **schedule("nightly", instance="s2"),
            **schedule("hourly"),
            'dutiful_schedule_next_due_timestamp_seconds{schedule="nightly",instance="s1"}': "600x20 1500x20",
            'dutiful_schedule_next_due_timestamp_seconds{schedule="nightly",instance="s2"}': "600x20 1500x20",
            'dutiful_schedule_next_due_timestamp_seconds{schedule="hourly",instance="s1"}': "3600x40",
        },
        {15: [({"schedule": "nightly", "owner": "team"}, "It was due 5m 0s ago, and its job is not published.")]},
        (12, 24),
    ),
    Case(
        "DutifulScheduleFailing",
        "one schedule fails, then succeeds; others never began, are paused, or do well",
        {
            **paused("schedule", "paused"),
            **schedule("minutely"),
            **schedule("never"),
            **schedule("paused"),
            **schedule("well"),
            'dutiful_schedule_last_succeeded_timestamp_seconds{schedule="minutely",instance="s1"}': "60x15 900+60x20",
            'dutiful_schedule_last_succeeded_timestamp_seconds{schedule="minutely",instance="s2"}': "60x15 900+60x20",
            'dutiful_schedule_last_succeeded_timestamp_seconds{schedule="never",instance="s1"}': "0x40",
            'dutiful_schedule_last_succeeded_timestamp_seconds{schedule="paused",instance="s1"}': "60x40",
            'dutiful_schedule_last_succeeded_timestamp_seconds{schedule="well",instance="s1"}': "0+60x40",
            **{
                f'dutiful_schedule_interval_seconds{{schedule="{name}",instance="s1"}}': "60x40"
                for name in ("minutely", "never", "paused", "well")
            },
        },
        {10: [({"schedule": "minutely", "owner": "team"}, "Its last success was 9m 0s ago.")]},
        (8, 25),
    ),
    Case(
        "DutifulSchedulerAbsent",
        "one of two goes, then both, then one is back",
        {'up{job="scheduler",instance="s1"}': "1x3 0x40 1x10", 'up{job="scheduler",instance="s2"}': "1x5 0x60"},
        {
            15: [
                (
                    {"job": "scheduler"},
                    "Prometheus reaches no target of the job scheduler. Ticks that fall due are made up for later.",
                )
            ]
        },
        (9, 50),
    ),
    Case(
        "DutifulSchedulerAbsent",
        "Prometheus knows of none",
        {'up{job="worker"}': "1x30"},
        {
            10: [
                (
                    {"job": "scheduler"},
                    "Prometheus reaches no target of the job scheduler. Ticks that fall due are made up for later.",
                )
            ]
        },
    ),
    Case(
        "DutifulWorkersDown",
        "one of two goes, then both, then one is back",
        {'up{job="worker",instance="w1"}': "1x5 0x40 1x10", 'up{job="worker",instance="w2"}': "1x10 0x50"},
        {at: [({"job": "worker"}, "Prometheus reaches no target of the job worker.")] for at in (15, 50)},
        (12, 54),
    ),
    Case(
        "DutifulWorkersDown",
        "Prometheus knows of none",
        {'up{job="scheduler"}': "1x30"},
        {10: [({"job": "worker"}, "Prometheus reaches no target of the job worker.")]},
    ),
    Case(
        "DutifulWorkersRestarting",
        "four restarts on one instance, two on another",
        {
            'dutiful_worker_start_time_seconds{instance="w1"}': "100 200 300 400 500 500x90",
            'dutiful_worker_start_time_seconds{instance="w2"}': "100 200 300 300x90",
        },
        {6: [({"instance": "w1"}, "4 restarts in fifteen minutes.")]},
        (3, 50),
    ),
    Case(
        "DutifulWorkerSilent",
        "one of two instances stops, and goes on",
        {
            'dutiful_worker_beat_timestamp_seconds{job="worker",instance="w1"}': "0x10 660+60x20",
            'dutiful_worker_beat_timestamp_seconds{job="worker",instance="w2"}': "0+60x30",
            'dutiful_worker_beat_timestamp_seconds{job="scheduler",instance="s1"}': "0x30",
        },
        {3: [({"instance": "w1"}, "It was last seen 3m 0s ago: stopped, swapped out, or blocked.")]},
        (2, 15),
    ),
    Case(
        "DutifulStoreDown",
        "one of two instances loses the store",
        {
            'dutiful_store_up{job="worker",instance="w1"}': "1x5 0x30 1x20",
            'dutiful_store_up{job="worker",instance="w2"}': "1x60",
        },
        {at: [({"instance": "w1"}, "Jobs that need it wait in the worker; nothing is lost.")] for at in (10, 40)},
        (7, 44),
    ),
    Case(
        "DutifulPublisherBlocked",
        "one of two instances is blocked",
        {'dutiful_broker_blocked{instance="w1"}': "0x5 1x30 0x20", 'dutiful_broker_blocked{instance="w2"}': "0x60"},
        {
            10: [
                ({"instance": "w1"}, "It has too little memory or disk. What is sent fails, and workers stop fetching.")
            ]
        },
        (7, 40),
    ),
    Case(
        "DutifulRabbitmqDown",
        "one of two nodes goes, then both",
        {'up{job="rabbitmq",instance="r1"}': "1x3 0x40 1x10", 'up{job="rabbitmq",instance="r2"}': "1x5 0x60"},
        {
            at: [({"job": "rabbitmq"}, "Prometheus reaches no node of it. Nothing can be sent, and no job begins.")]
            for at in (8, 48)
        },
        (6, 52),
    ),
    Case(
        "DutifulVersionsMixed",
        "a deployment stops half way",
        {
            'dutiful_build_info{job="worker",version="1",instance="w1"}': "1x60 _x60",
            'dutiful_build_info{job="worker",version="2",instance="w2"}': "_x5 1x120",
        },
        {40: [({}, "2 versions run side by side: a deployment has not come to its end.")]},
        (30, 70),
    ),
    Case("DutifulWatchdog", "always", {}, {1: [({}, "Send it to a dead man's switch.")]}),
]
