"""What the doctor makes of what RabbitMQ and the clocks tell."""

import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest

from workers.doctor import rabbitmq, rights
from workers.doctor.clocks import broker_clock, compared, store_clock
from workers.management import Management
from workers.store.engine import create_store_engine
from workers.users import definitions

NOW = datetime(2026, 11, 22, tzinfo=UTC)
HALF_AN_HOUR = timedelta(minutes=30)


@pytest.mark.parametrize(
    ("version", "verdict"), [("3.9.29", "wrong"), ("3.10.8", "ok"), ("4.0.5", "ok"), ("", "wrong")]
)
def test_a_release_that_loses_dead_letters_is_wrong(version, verdict):
    (line,) = rabbitmq.release(version)

    assert line.verdict == verdict
    assert verdict == "ok" or (line.expected, line.received, line.mend) == (
        "3.10 or later",
        version,
        "# upgrade RabbitMQ: docs/running.md says how",
    )


def facts(milliseconds, policy="dutiful"):
    rules = {"consumer-timeout": milliseconds}
    return {"a": {"effective_policy_definition": rules, "policy": policy, "vhost": "v"}}


@pytest.mark.parametrize(
    ("policy", "mend"),
    [
        ("dutiful", "dutiful users declare --consumer-timeout"),
        ("theirs", "# change the policy or its pattern; or: rabbitmqctl clear_policy -p v theirs"),
    ],
)
def test_a_policy_that_waits_for_less_than_the_settings_say_is_wrong(policy, mend):
    (line,) = rabbitmq.consumer_timeout(HALF_AN_HOUR, ["a"], facts(60_000, policy), "3.12.1")

    assert line.verdict == "wrong"
    assert line.what == "RabbitMQ would give jobs of a to somebody else while they run"
    assert line.expected.startswith("consumer-timeout of 1800000 or more, as DUTIFUL_RABBITMQ__CONSUMER_TIMEOUT_")
    assert line.received == "60000, from a policy"
    assert line.mend == mend
    # What our command makes, and the setting says:
    made = definitions(["a"], vhost="v", consumer_timeout_ms=1_800_000)["policies"][0]
    assert made["name"] == "dutiful"
    told = facts(made["definition"]["consumer-timeout"])
    (line,) = rabbitmq.consumer_timeout(HALF_AN_HOUR, ["a"], told, "3.12.1")
    assert (line.verdict, line.what) == ("ok", "1800000 ms, from a policy")


def test_what_no_policy_says_about_consumer_timeout_is_unknown_and_a_later_release_could_tell():
    look = "rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'"
    for known in (None, {}, {"a": {"effective_policy_definition": None}}):
        for version, mend in {
            "3.10.8": look,
            "3.12.0": f"dutiful users declare --consumer-timeout # or look: {look}",
            "4.0.5": f"dutiful users declare --consumer-timeout # or look: {look}",
        }.items():
            (line,) = rabbitmq.consumer_timeout(HALF_AN_HOUR, ["a"], known, version)
            assert (line.verdict, line.mend) == ("unknown", mend)
            assert line.what == "RabbitMQ does not tell its setting; 1800000 ms or more is needed"


ROOMY = {"name": "n", "disk_free": 9 * 2**30, "disk_free_limit": 2**30, "disk_free_alarm": False, "mem_alarm": False}


def test_a_node_that_has_raised_an_alarm_or_soon_will_is_wrong():
    (alarm,) = rabbitmq.node_room(ROOMY | {"disk_free_alarm": True})
    (near,) = rabbitmq.node_room(ROOMY | {"disk_free": 3 * 2**29})

    assert alarm.what == "n has raised disk_free_alarm"
    assert near.what == "n is near its alarm"
    assert near.received == "1536 MB free, the alarm is at 1024 MB"
    assert rabbitmq.node_room(ROOMY)[0].verdict == "ok"  # room was made
    assert alarm.mend == near.mend == rights.LOOK_AT_ALARMS
    for told in (ROOMY | {"disk_free": "disk_free_monitoring_disabled"}, {"name": "n"}):  # which has just started
        (line,) = rabbitmq.node_room(told)
        assert (line.verdict, line.what) == ("unknown", "n does not know its room")
        assert line.mend == "dutiful doctor # once more"


def test_clocks_that_differ_are_wrong_and_it_is_said_which_is_ahead():
    (ahead,) = compared("the store", NOW, NOW + timedelta(seconds=9))
    (behind,) = compared("RabbitMQ", NOW, NOW - timedelta(minutes=2))

    assert ahead.what == "the clock of the store is ahead of this host's"
    assert (ahead.expected, ahead.received) == ("5 s apart at most", "9.0 s")
    assert behind.what == "the clock of RabbitMQ is behind this host's"
    assert ahead.mend == behind.mend == "timedatectl set-ntp true # on the host whose clock is wrong"
    assert compared("RabbitMQ", NOW, NOW + timedelta(seconds=1))[0].verdict == "ok"


@pytest.fixture
def breaking_off():
    """An address that promises more than it sends."""

    def answer():
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def test_an_answer_that_breaks_off_is_no_answer(breaking_off):
    (line,) = rabbitmq.disks(Management(f"http://{breaking_off}", vhost="x", user="u", password="p"))

    assert line.verdict == "wrong"
    assert line.what == "RabbitMQ's management API can't be read"
    assert breaking_off in line.received


def test_a_management_api_that_isn_t_known_or_is_away_is_no_ok(tmp_path):
    away = Management("http://127.0.0.1:9", vhost="x", user="u", password="p")

    assert [check(None)[0].verdict for check in (rabbitmq.disks, broker_clock)] == ["unknown"] * 2
    for line in (*rabbitmq.disks(away), *broker_clock(away)):
        assert line.verdict == "wrong"
        assert line.what == "RabbitMQ's management API can't be read"
        assert "127.0.0.1:9" in line.received


def test_an_embedded_store_has_this_host_s_clock(tmp_path):
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")

    assert store_clock(engine)[0].what == "the store has this host's clock"
    engine.dispose()
