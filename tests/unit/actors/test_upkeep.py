"""The runtime is kept in order by jobs of its own."""

from actors.upkeep import canary, purge


def test_the_canary_sends_a_probe_through_every_queue(jobs):
    canary.send()
    jobs.run()

    queues = jobs.broker.get_declared_queues()
    assert {"content", "site"} <= queues
    assert {message.queue_name for message in jobs.published} == queues
    assert sorted(jobs.outcomes) == [("upkeep.canary", "succeeded"), *[("upkeep.probe", "succeeded")] * len(queues)]


def test_the_purge_leaves_what_is_needed(jobs):
    purge.send()
    jobs.run()
    assert jobs.outcomes == [("upkeep.purge", "succeeded")]
