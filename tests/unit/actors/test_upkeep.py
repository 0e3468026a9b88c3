"""The runtime is kept in order by jobs of its own."""

from actors.upkeep import canary, purge


def test_the_canary_sends_a_probe_through_every_queue(jobs):
    canary.send()
    jobs.run()

    assert sorted(jobs.outcomes) == [("upkeep.canary", "succeeded"), *[("upkeep.probe", "succeeded")] * 2]
    assert {message.queue_name for message in jobs.published} == {"content", "site"}


def test_the_purge_leaves_what_is_needed(jobs):
    purge.send()
    jobs.run()
    assert jobs.outcomes == [("upkeep.purge", "succeeded")]
