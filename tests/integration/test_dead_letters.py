"""`dutiful dead-letters`: what an operator sees, what is sent again, and what stays where it is."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pika
import pytest
from processes import ROOT, SHOP, Queue, envelope, until

from tests import commands
from tests.commands import unset

DUTIFUL = Path(sys.executable).with_name("dutiful")
PROOF = bool(os.environ.get("PROOF"))
LISTINGS = 22 if PROOF else 8
MORE_THAN_A_PIPE_HOLDS = 1_500  # lines of a list; a pipe takes 64 kB


@pytest.fixture
def worker(start_worker):
    """One that is ready."""
    worker = start_worker()
    worker.wait_until_ready()
    return worker


@pytest.fixture
def told(environment):
    return unset() | {"COLUMNS": "200", "PYTHONPATH": f"{ROOT}:{SHOP}"} | environment


@pytest.fixture
def command(told, tmp_path):
    """Start it, to be killed or frozen: command("list")."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [str(DUTIFUL), "dead-letters", *arguments, "--package", "shop"],
            cwd=tmp_path,
            env=told,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def dutiful(told, tmp_path):
    """Run it to its end: the exit status, what it wrote, and what it said."""

    def run(*arguments):
        words = ("dead-letters", *arguments, "--package", "shop")
        done = commands.dutiful(*words, environment=told, folder=tmp_path, timeout=100)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def listed(dutiful):
    """Run it with --json, and read what it wrote."""

    def run(*arguments):
        status, written, said = dutiful(*arguments, "--json")
        assert status == 0, said
        return json.loads(written)

    return run


def lines(ledger):
    return ledger.read_text().splitlines()


def state(tmp_path, actor):
    with sqlite3.connect(tmp_path / "store.db") as connection:
        return connection.execute("SELECT state, generation FROM dutiful_keys WHERE actor = ?", [actor]).fetchall()


def audit(tmp_path):
    with sqlite3.connect(tmp_path / "store.db") as connection:
        return connection.execute("SELECT who, action, reason, detail FROM dutiful_audit ORDER BY id").fetchall()


def bury(shop, count, *, actor="good", generation=0, **headers):
    """Put dead letters there without a worker, and return their ids."""
    ids = []
    with pika.BlockingConnection(pika.URLParameters(shop.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for n in range(count):
            body = envelope(actor, n=n)
            ids.append(json.loads(body)["message_id"])
            said = {"dutiful-reason": "permanent", "dutiful-fingerprint": f"kind{n % 3}", **headers}
            if generation:
                said["dutiful-generation"] = generation
            properties = pika.BasicProperties(delivery_mode=2, message_id=ids[-1], type=actor, headers=said)
            channel.basic_publish("", "shop.XQ", body, properties)
    return ids


def order(shop):
    """The ids in the dead queue, in order; they are taken out."""
    return [properties.message_id for properties, _ in shop.dead()]


@pytest.mark.usefixtures("worker")
def test_a_dead_letter_says_why_when_where_and_what_to_do(shop, dutiful, listed):
    body = envelope("failing")
    shop.publish(body)
    until(lambda: shop.count("shop.XQ") == 1)
    message_id = json.loads(body)["message_id"]

    (line,) = listed("list")
    (page,) = listed("show", message_id)["letters"]
    status, written, _ = dutiful("show", message_id)

    assert (line["id"], line["reason"], line["actor"]) == (message_id, "retries_exhausted", "failing")
    assert line["why"] == "RuntimeError: it is broken"
    assert len(page["failures"]) == 1  # the one before the last
    assert "RuntimeError" in page["failures"][0]
    assert page["attempts"] == 2
    assert page["card"]["rollback"] == "none"
    assert "raise RuntimeError" in page["traceback"]
    assert status == 0
    for word in ("rollback:", "to do:", "runbook:", "raise RuntimeError", page["worker"], page["failed_at"]):
        assert word in written


@pytest.mark.usefixtures("queues")
def test_secrets_are_hidden_when_a_letter_is_shown(shop, dutiful, rabbitmq):
    body = envelope("good", n=1, password="hunter2", nested={"api_key": "hunter2", "ok": "visible"})
    with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
        said = {
            "dutiful-exception-message": "login with token=hunter2 refused",
            "dutiful-traceback": "password='hunter2'",
        }
        connection.channel().basic_publish("", "shop.XQ", body, pika.BasicProperties(message_id="m", headers=said))

    _, written, _ = dutiful("show", "m")
    _, lines, _ = dutiful("list")

    assert "visible" in written
    assert "hunter2" not in written + lines


@pytest.mark.usefixtures("queues")
def test_many_listings_leave_the_queue_as_it_was(shop, command, listed):
    ids = bury(shop, 200)
    until(lambda: shop.count("shop.XQ") == 200)

    for number in range(LISTINGS):
        if number % 2:
            assert [each["id"] for each in listed("list")] == ids
        else:
            process = command("list")
            process.stdout.readline()
            process.kill()  # in the middle of it
            process.wait()
            until(lambda: shop.count("shop.XQ") == 200, what="they did not come back")

    assert order(shop) == ids


@pytest.mark.usefixtures("queues")
def test_a_letter_that_comes_while_others_are_listed_is_kept(shop, command, listed):
    first = bury(shop, MORE_THAN_A_PIPE_HOLDS)
    process = command("list")
    process.stdout.readline()  # and then nothing for a while: the command waits in the middle of its list

    later = bury(shop, 50)
    written = process.communicate(timeout=60)[0]

    assert written.count("\n") <= MORE_THAN_A_PIPE_HOLDS - 1
    until(lambda: shop.count("shop.XQ") == MORE_THAN_A_PIPE_HOLDS + 50)
    assert [each["id"] for each in listed("list")] == first + later


@pytest.mark.usefixtures("queues")
def test_a_second_operator_is_told_who_is_at_it(shop, command, dutiful):
    bury(shop, MORE_THAN_A_PIPE_HOLDS)
    first = command("list")
    first.stdout.readline()  # and then nothing: it waits in the middle of its list

    status, _, said = dutiful("list")

    assert status == 1
    assert "somebody else is looking at shop.XQ" in said
    assert f"@{os.uname().nodename}, since " in said


@pytest.mark.usefixtures("queues")
def test_letters_are_grouped_and_filtered(shop, listed):
    ids = bury(shop, 6) + bury(shop, 2, actor="failing", **{"dutiful-reason": "time_limit"})

    assert [each["count"] for each in listed("list", "--group")] == [3, 3, 2]
    assert [each["id"] for each in listed("list", "--actor", "failing")] == ids[6:]
    assert [each["id"] for each in listed("list", "--died-of", "time_limit")] == ids[6:]
    assert [each["id"] for each in listed("list", "--fingerprint", "kind2")] == [ids[2], ids[5]]
    assert [each["id"] for each in listed("list", "--id", ids[4], "--id", ids[1])] == [ids[1], ids[4]]
    assert listed("list", "--newer-than", "1h") == []  # nothing says when these failed
    assert len(listed("list", "--queue", "shop", "--limit", "3")) == 3


@pytest.mark.usefixtures("worker")
def test_a_replay_runs_a_job_again_and_a_copy_of_it_does_not(shop, dutiful, listed, ledger, tmp_path):
    body = envelope("mended", n=1)
    shop.publish(body)
    until(lambda: shop.count("shop.XQ") == 1)
    shop.publish(body)  # a late duplicate
    time_passes_until_empty(shop)
    assert lines(ledger) == ["mended 1 failed"]
    (tmp_path / "mended").touch()

    status, written, _ = dutiful("replay", "--actor", "mended", "--reason", "it is mended", "--wait", "30")
    until(lambda: len(lines(ledger)) == 2)
    shop.publish(body)  # an old copy, after the replay
    time_passes_until_empty(shop)

    assert status == 0
    assert "1 of 1 sent again\n1 succeeded" in written
    assert lines(ledger) == ["mended 1 failed", "mended 1 done"]
    assert state(tmp_path, "mended") == [("done", 1)]
    (job,) = listed("show", json.loads(body)["message_id"])["jobs"]
    assert (job["replays"], job["outcome"]) == (1, "succeeded")
    begins, ended = audit(tmp_path)
    assert begins[1:3] == ended[1:3] == ("replay dead letters", "it is mended")
    assert "1 of 1" in ended[3]


def time_passes_until_empty(shop):
    until(lambda: shop.count() == 0)
    time.sleep(0.5)  # what must not happen has no event to wait for


@pytest.mark.usefixtures("worker")
def test_a_replay_that_fails_again_says_so_and_is_not_replayed_for_ever(shop, dutiful, listed):
    body = envelope("hopeless")
    message_id = json.loads(body)["message_id"]
    shop.publish(body)
    for number in range(3):
        until(lambda: shop.count("shop.XQ") == 1)
        (line,) = listed("list")
        assert line["replays"] == number
        assert dutiful("replay", "--queue", "shop", "--wait", "30")[1].endswith("1 failed again\n")

    (page,) = listed("show", message_id)["letters"]
    _, written, _ = dutiful("replay", "--queue", "shop")

    assert page["replay_of"].split()[1:] == ["permanent", page["fingerprint"]]
    assert "0 of 1 sent again\n1 left there: it has failed again 3 times" in written
    assert "1 of 1 sent again" in dutiful("replay", "--queue", "shop", "--again")[1]
    until(lambda: shop.count("shop.XQ") == 1)
    assert "1 of 1 sent again" in dutiful("replay", "--id", message_id)[1]


@pytest.mark.usefixtures("worker")
def test_a_discarded_job_runs_no_more(shop, dutiful, ledger, tmp_path):
    body = envelope("mended", n=1)
    shop.publish(body)
    until(lambda: shop.count("shop.XQ") == 1)

    assert dutiful("discard", "--all", "--yes")[0] == 2  # without a reason
    assert dutiful("discard", "--reason", "old", "--yes")[0] == 2  # without saying which
    assert dutiful("discard", "--all", "--reason", "old")[0] == 1  # nobody is there to say yes
    status, written, _ = dutiful("discard", "--all", "--reason", "old", "--yes")
    (tmp_path / "mended").touch()
    shop.publish(body)
    time_passes_until_empty(shop)

    assert (status, written) == (0, "1 of 1 discarded\n")
    assert shop.count("shop.XQ") == 0
    assert state(tmp_path, "mended") == [("discarded", 0)]
    assert lines(ledger) == ["mended 1 failed"]
    assert [each[1:3] for each in audit(tmp_path)] == [("discard dead letters", "old")] * 2


@pytest.mark.usefixtures("queues")
def test_a_dry_run_changes_nothing(shop, dutiful, tmp_path):
    ids = bury(shop, 5)

    assert "2 would be chosen" in dutiful("replay", "--fingerprint", "kind0", "--dry-run")[1]
    assert "5 would be chosen" in dutiful("discard", "--all", "--reason", "x", "--dry-run")[1]

    assert order(shop) == ids
    assert audit(tmp_path) == []


@pytest.mark.usefixtures("queues")
def test_a_part_that_is_replayed_leaves_the_others_in_their_order(shop, dutiful):
    ids = bury(shop, 300)

    assert "100 of 300 sent again" in dutiful("replay", "--fingerprint", "kind1")[1]

    assert shop.count() == 100
    until(lambda: shop.count("shop.XQ") == 200)
    assert order(shop) == [each for number, each in enumerate(ids) if number % 3 != 1]


@pytest.mark.usefixtures("queues")
def test_a_rate_is_kept(shop, dutiful):
    bury(shop, 20)
    began = time.monotonic()

    dutiful("replay", "--all", "--rate", "10")

    assert time.monotonic() - began >= 1.9


@pytest.mark.usefixtures("queues")
def test_a_job_without_a_key_is_sent_again_only_when_it_may_run_twice(shop, dutiful):
    bury(shop, 2, actor="keyless")

    _, written, _ = dutiful("replay", "--all")
    assert "2 left there: its actor has key=None, so it may run twice: --yes" in written
    assert shop.count() == 0
    assert "2 of them have no key" in dutiful("replay", "--all", "--yes")[1]


@pytest.mark.usefixtures("worker")
def test_what_cant_be_read_is_kept_as_it_came_and_not_sent_again(shop, dutiful, listed):
    shop.publish(b"\xff\xfe no json \x00", headers={"mine": "7", "dutiful-attempt": "x"})
    until(lambda: shop.count("shop.XQ") == 1)

    (line,) = listed("list")
    assert line["reason"] == "undecodable"
    assert "1 left there: it can't be read" in dutiful("replay", "--all")[1]
    ((properties, body),) = shop.dead()
    assert body == b"\xff\xfe no json \x00"
    assert json.loads(properties.headers["dutiful-original"]) == {"mine": "7", "dutiful-attempt": "x"}


@pytest.mark.usefixtures("queues")
def test_what_rabbitmq_itself_has_moved_is_shown_with_its_reason(shop, listed, dutiful, rabbitmq):
    shop.publish(envelope("good", n=1))
    with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
        channel = connection.channel()
        while (found := channel.basic_get("shop")[0]) is not None or shop.count("shop.XQ") == 0:
            if found is not None:
                channel.basic_nack(found.delivery_tag)

    (line,) = listed("list")

    assert (line["reason"], line["actor"]) == ("delivery_limit", "good")
    assert "RabbitMQ delivered it 50 times" in line["why"]
    assert "1 of 1 sent again" in dutiful("replay", "--died-of", "delivery_limit")[1]
    assert shop.count() == 1


@pytest.mark.usefixtures("queues")
def test_what_became_due_without_a_queue_is_sent_to_its_queue(shop, listed, dutiful):
    lost = Queue(shop.url, "dutiful.undeliverable")
    lost.publish(envelope("good", n=1), exchange="")

    (line,) = listed("list")

    assert (line["reason"], line["queue"]) == ("unroutable", "dutiful.undeliverable")
    assert "1 of 1 sent again" in dutiful("replay", "--queue", "dutiful.undeliverable")[1]
    assert (shop.count(), lost.count()) == (1, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay",),
        ("list", "--older-than", "yesterday"),
        ("discard", "--reason", " ", "--all"),
    ],
)
def test_wrong_usage_is_refused(dutiful, arguments):
    assert dutiful(*arguments)[0] == 2


def test_a_queue_that_nobody_reads_is_refused(dutiful):
    status, _, said = dutiful("list", "--queue", "ship")

    assert status == 1
    assert "no such queue" in said
    assert "shop" in said
