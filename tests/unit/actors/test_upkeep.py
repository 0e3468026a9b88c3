"""The runtime is kept in order by jobs of its own."""

import time

from prometheus_client import REGISTRY

from actors.upkeep import canary, purge


def test_the_canary_sends_a_probe_through_every_queue_and_each_says_when_it_came(jobs):
    before = time.time()
    canary.send()
    jobs.run()
    seen = {
        queue: REGISTRY.get_sample_value("dutiful_queue_probe_timestamp_seconds", {"queue": queue})
        for queue in ("content", "site")
    }
    assert all(moment >= before for moment in seen.values())
    assert ("upkeep.canary", "succeeded") in jobs.outcomes
    assert ("upkeep.probe", "succeeded") in jobs.outcomes


def test_the_purge_leaves_what_is_needed(jobs):
    purge.send()
    jobs.run()
    assert jobs.outcomes == [("upkeep.purge", "succeeded")]
