"""Retry-After: what a service says is what the job does."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from unittest.mock import patch

import pytest

from workers import RetryLater, clock, obey_retry_after

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _the_time_stands_still():
    with patch.object(clock, "source", lambda: NOW):
        yield


def delay_of(status, headers, **options):
    with pytest.raises(RetryLater) as caught:
        obey_retry_after(status, headers, **options)
    return caught.value.delay


@pytest.mark.parametrize("name", ["Retry-After", "retry-after"])
def test_seconds_are_obeyed(name):
    assert delay_of(503, {name: " 120 "}) == timedelta(seconds=120)


def test_a_date_is_obeyed():
    then = format_datetime(NOW + timedelta(minutes=7), usegmt=True)

    assert delay_of(429, {"Retry-After": then}) == timedelta(minutes=7)


def test_a_date_that_has_passed_is_now():
    then = format_datetime(NOW - timedelta(minutes=7), usegmt=True)

    assert delay_of(429, {"Retry-After": then}) == timedelta(0)


@pytest.mark.parametrize("said", ["", "soon", "-5", "1.5", "\u0662"])
def test_what_cant_be_understood_is_the_default(said):
    assert delay_of(429, {"Retry-After": said}, default=timedelta(seconds=9)) == timedelta(seconds=9)


def test_no_header_is_the_default():
    assert delay_of(503, {}) == timedelta(minutes=1)


@pytest.mark.parametrize("said", ["9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_no_delay_is_longer_than_the_longest(said):
    assert delay_of(429, {"Retry-After": said}, longest=timedelta(hours=2)) == timedelta(hours=2)


@pytest.mark.parametrize("status", [200, 404, 500])
def test_any_other_answer_is_the_jobs_own_business(status):
    obey_retry_after(status, {"Retry-After": "120"})
