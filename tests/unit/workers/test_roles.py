"""What each kind of user may do, as patterns."""

import re

import pytest

from workers import roles

QUEUES = ["content", "site.maps"]


def may(pattern, name):
    return re.search(pattern, name) is not None


def test_a_publisher_reaches_the_door_and_the_delays_and_nothing_else():
    role = roles.publisher()

    assert may(role.write, "dutiful.jobs")
    assert may(role.write, "dutiful.delay.28")
    for name in ("amq.default", "content.XQ", "content", "dutiful.jobsX", "xdutiful.jobs", "dutiful.deliver", ""):
        assert not may(role.write, name)
    assert not may(role.configure, "dutiful.jobs")
    assert not may(role.read, "content")


@pytest.mark.parametrize("right", ["configure", "read"])
def test_a_worker_has_the_queues_of_its_actors_and_no_others(right):
    pattern = getattr(roles.worker(QUEUES), right)

    for name in (
        "content",
        "site.maps",
        "dutiful.jobs",
        "dutiful.delay.00",
        "dutiful.store",
        "dutiful.parked.any.actor",
    ):
        assert may(pattern, name)
    for name in ("other", "siteXmaps", "amq.topic", "amq.default", "content.XQ.x", ""):
        assert not may(pattern, name)
    assert may(pattern, "content.XQ") == (right == "configure")


def test_dead_letters_are_the_operator_s():
    role = roles.operator(QUEUES)

    assert may(role.read, "content.XQ")
    assert may(role.configure, "dutiful.listing.content.XQ.by")
    assert not may(role.read, "other.XQ")
    assert role.tags == ("monitoring",)
    assert not may(roles.metrics().read, "content")
