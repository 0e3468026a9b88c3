"""`dutiful queues migrate`: stock Dramatiq's own broker publishes in one vhost, and every job ends up in ours, once."""

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import dramatiq
import pika
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import Retries

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from processes import ROOT, SHOP, Queue, until
from proxy import Proxy

from tests import commands

UPGRADING = ROOT / "docs" / "upgrading.md"
DUTIFUL = Path(sys.executable).with_name("dutiful")
READY, SOON, LATER, DEAD = 200, 40, 50, 10


@pytest.fixture
def old_vhost(rabbitmq, management, names):
    """The AMQP URL of the vhost that stock Dramatiq uses."""
    vhost = next(names)
    management.put(f"/api/vhosts/{vhost}").raise_for_status()
    yield rabbitmq.rpartition("/")[0] + f"/{vhost}"
    management.delete(f"/api/vhosts/{vhost}").raise_for_status()


@pytest.fixture
def stock(old_vhost):
    """Stock Dramatiq, with the actors of the shop."""
    broker = RabbitmqBroker(url=old_vhost, middleware=[Retries(min_backoff=1)], confirm_delivery=True)

    @dramatiq.actor(broker=broker, queue_name="shop")
    def good(n):
        raise AssertionError("it shall run in the new vhost")

    @dramatiq.actor(broker=broker, queue_name="shop", max_retries=1)
    def failing():
        raise ValueError("the shop is closed")

    yield broker
    broker.close()


@pytest.fixture
def old(old_vhost):
    return Queue(old_vhost, "shop")


class Migrate:
    """`dutiful queues migrate`, as it is typed."""

    def __init__(self, environment, folder):
        told = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "PYTHONPATH": f"{ROOT}:{SHOP}"}
        self.environment, self.folder, self.started = told | environment, folder, []

    def start(self, source, *arguments):
        process = subprocess.Popen(
            [str(DUTIFUL), "queues", "migrate", "shop", "--from", source, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def __call__(self, source, *arguments):
        """Run it to its end: the exit status, the counts by queue, and what it wrote for people."""
        words = ("queues", "migrate", "shop", "--from", source, "--json", *arguments)
        done = commands.dutiful(*words, environment=self.environment, folder=self.folder)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, {each["source"]: each for each in json.loads(done.stdout or "[]")}, done.stderr


@pytest.fixture
def migrate(environment, tmp_path):
    command = Migrate(environment, tmp_path)
    yield command
    for process in command.started:
        process.kill()
        process.communicate()


@pytest.fixture
def run_until(start_worker, ledger):
    """Run our worker until its ledger satisfies, and return the ledger's lines."""

    def run(satisfied):
        worker = start_worker()
        until(lambda: satisfied(ledger.read_text().splitlines()), seconds=60, what="the jobs did not run")
        worker.stop()
        return ledger.read_text().splitlines()

    return run


def publish_through(stock):
    """Some jobs of each kind; each good one has its own number."""
    good, failing = stock.get_actor("good"), stock.get_actor("failing")
    for n in range(READY):
        good.send(n)
    for n in range(READY, READY + SOON):
        good.send_with_options(args=(n,), delay=3000)
    for n in range(READY + SOON, READY + SOON + LATER):
        good.send_with_options(args=(n,), delay=3_600_000)
    return failing


def kill_some(stock, old, failing):
    """Dead letters as stock Dramatiq makes them: a worker of its own fails, retries, and gives up."""
    for _ in range(DEAD):
        failing.send()
    worker = dramatiq.Worker(stock, worker_threads=2, worker_timeout=50)
    worker.start()
    until(lambda: old.count("shop.XQ") == DEAD, what="stock Dramatiq made no dead letters")
    worker.stop()


def delayed(shop):
    return sum(shop.count(f"dutiful.delay.{number:02d}") for number in range(29))


def bodies(shop, name="shop"):
    """Take every message: its body as JSON, and its headers."""
    found = []
    with pika.BlockingConnection(pika.URLParameters(shop.url)) as connection:
        channel = connection.channel()
        while (got := channel.basic_get(name, auto_ack=True))[0] is not None:
            found.append((json.loads(got[2]), got[1].headers or {}))
    return found


def test_every_job_moves_and_runs_once_though_the_command_is_killed_in_the_middle(stock, old, shop, migrate, run_until):
    kill_some(stock, old, stock.get_actor("failing"))
    publish_through(stock)
    address = urlsplit(old.url)
    with Proxy(address.hostname, address.port) as proxy:
        proxy.dribble()  # else all of them may have moved before anybody sees the first
        # The old vhost falls silent once some jobs are in ours: of those, some can't be settled there any more.
        process = migrate.start(old.url.replace(f":{address.port}/", f":{proxy.port}/"), "--include-dead", "--follow")
        until(shop.exists, what="the command declared nothing")
        with pika.BlockingConnection(pika.URLParameters(shop.url)) as connection:
            channel = connection.channel()  # the command is fast: who opens a connection for each look comes too late
            until(lambda: channel.queue_declare("shop", passive=True).method.message_count, pause=0)
            proxy.freeze()
        process.kill()
        process.wait()

    status, parts, _ = migrate(old.url, "--include-dead")
    again = sum(part["moved"] for part in parts.values())

    assert status == 0
    assert 0 < again <= READY + SOON + LATER + DEAD
    assert [old.count(name) for name in ("shop", "shop.DQ", "shop.XQ")] == [0, 0, 0]
    ledger = run_until(lambda lines: len(set(lines)) == READY + SOON and shop.count() == 0)
    assert Counter(ledger) == {f"good {n}": 1 for n in range(READY + SOON)}
    assert delayed(shop) >= LATER
    assert len({properties.message_id for properties, _ in shop.dead()}) == DEAD


def test_an_undisturbed_run_moves_each_message_exactly_once_with_its_id_and_its_delay(stock, old, shop, migrate):
    failing = publish_through(stock)
    kill_later = [failing.send_with_options(delay=3_600_000) for _ in range(3)]

    status, parts, _ = migrate(old.url)

    assert status == 0
    assert parts["shop"]["moved"] == READY
    assert parts["shop.DQ"]["moved"] == SOON + LATER + 3
    assert parts["shop.DQ"]["delayed"] >= LATER + 3, "those that are due soon may be due by now"
    until(lambda: shop.count() == READY + SOON, what="the delayed jobs did not become due")
    assert delayed(shop) == LATER + len(kill_later)
    found = bodies(shop)
    assert len({body["message_id"] for body, _ in found}) == READY + SOON
    assert {body["queue_name"] for body, _ in found} == {"shop"}
    assert all(body["options"] == {} for body, _ in found)


def test_a_retry_goes_on_with_the_attempt_it_had(stock, old, shop, migrate):
    good = stock.get_actor("good")
    stock.enqueue(good.message_with_options(args=(1,), retries=2, traceback="ValueError: x", max_retries=7))

    assert migrate(old.url)[0] == 0

    [(body, headers)] = bodies(shop)
    assert {name: value for name, value in headers.items() if name != "x-delivery-count"} == {"dutiful-attempt": 3}
    assert body["options"] == {"max_retries": 7}


def test_dead_letters_move_only_when_asked_for_and_say_why_they_died(stock, old, shop, migrate):
    kill_some(stock, old, stock.get_actor("failing"))

    assert migrate(old.url)[0] == 0
    assert (old.count("shop.XQ"), Queue(shop.url, "shop.XQ").exists() and shop.count("shop.XQ")) == (DEAD, 0)
    assert migrate(old.url, "--include-dead")[0] == 0

    letters = until(lambda: shop.count("shop.XQ") == DEAD and shop.dead())
    assert old.count("shop.XQ") == 0
    said = letters[0][0].headers
    assert said["dutiful-reason"] == "retries_exhausted"
    assert said["dutiful-attempts"] == 2
    assert (said["dutiful-exception-type"], said["dutiful-exception-message"]) == ("ValueError", "the shop is closed")
    assert "raise ValueError" in said["dutiful-traceback"]
    assert "x-death" not in said


def test_a_dry_run_moves_nothing_and_makes_nothing(stock, old, shop, migrate):
    publish_through(stock)

    status, parts, _ = migrate(old.url, "--dry-run", "--include-dead")

    assert status == 0
    assert {name: each["waiting"] for name, each in parts.items()} == {
        "shop": READY,
        "shop.DQ": SOON + LATER,
        "shop.XQ": 0,
    }
    assert (old.count(), old.count("shop.DQ"), shop.exists()) == (READY, SOON + LATER, False)
    assert bodies(old)[0][0]["args"] == [0]


def test_what_can_t_be_read_or_run_here_stays_there_and_is_listed(stock, old, shop, migrate):
    stock.get_actor("good").send(1)
    old.publish(b"\x80\x04pickle", exchange="")
    other = stock.get_actor("good").message(2).copy()
    stock.enqueue(other._replace(actor_name="elsewhere"))
    stock.get_actor("good").send(3)

    status, parts, _ = migrate(old.url)

    assert status == 1
    assert (parts["shop"]["moved"], parts["shop"]["left"], old.count()) == (2, 2, 2)
    assert "no JSON" in parts["shop"]["reasons"][0]
    assert "elsewhere" in parts["shop"]["reasons"][1]
    assert [body["args"] for body, _ in bodies(shop)] == [[1], [3]]


def test_follow_finds_a_queue_that_is_made_later_and_one_that_is_made_anew(stock, old, shop, migrate):
    process = migrate.start(old.url, "--follow")
    until(shop.exists)
    stock.get_actor("good").send(1)
    until(lambda: shop.count() == 1, what="the new queue was not seen")
    with pika.BlockingConnection(pika.URLParameters(old.url)) as connection:
        connection.channel().queue_delete("shop")
    stock.queues_pending.add("shop")
    stock.get_actor("good").send(2)
    until(lambda: shop.count() == 2, what="the queue that was made anew was not seen")
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 0


def test_a_queue_full_of_what_can_t_be_read_does_not_hang_the_command(stock, old, shop, migrate):
    stock.declare_queue("shop", ensure=True)
    with pika.BlockingConnection(pika.URLParameters(old.url)) as connection:
        channel = connection.channel()
        for _ in range(500):
            channel.basic_publish("", "shop", b"junk", pika.BasicProperties(delivery_mode=2))
    stock.get_actor("good").send(1)

    status, parts, said = migrate(old.url)

    assert status == 1
    assert (parts["shop"]["moved"], parts["shop"]["left"], old.count()) == (0, 500, 501)
    assert "out of reach until they are gone" in said
    assert len(parts["shop"]["reasons"]) <= 21


def test_follow_goes_on_through_an_outage_until_it_is_stopped(stock, old, shop, migrate):
    good = stock.get_actor("good")
    good.send(1)
    address = urlsplit(old.url)
    with Proxy(address.hostname, address.port) as proxy:
        process = migrate.start(old.url.replace(f":{address.port}/", f":{proxy.port}/"), "--follow")
        until(lambda: shop.exists() and shop.count() == 1)
        good.send(2)
        until(lambda: shop.count() == 2)
        proxy.cut()
        good.send(3)
        until(lambda: shop.count() == 3)
        process.send_signal(signal.SIGTERM)
        written, said = process.communicate(timeout=20)

    assert process.returncode == 0
    assert "the next try is in" in said
    assert written.splitlines()[1].split() == ["shop", "1", "3", "0", "0"]
    assert [body["args"] for body, _ in bodies(shop)] == [[1], [2], [3]]


def test_the_way_back_in_the_documentation_moves_every_job_to_where_stock_reads_it(stock, old, shop, migrate, tmp_path):
    kill_some(stock, old, stock.get_actor("failing"))
    for n in range(5):
        stock.get_actor("good").send(n)
    migrate(old.url, "--include-dead")
    [script] = re.findall(r"^```python title=back.py\n(.*?)^```$", UPGRADING.read_text(), re.MULTILINE | re.DOTALL)

    done = subprocess.run(
        [sys.executable, "-c", script, shop.url, old.url, "shop", "shop.XQ"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, f"shop: 5 moved\nshop.XQ: {DEAD} moved\n", "")
    assert (shop.count(), shop.count("shop.XQ")) == (0, 0)
    ran, stock_worker = [], dramatiq.Worker(stock, worker_threads=1, worker_timeout=50)
    stock.get_actor("good").fn = ran.append
    stock_worker.start()
    until(lambda: len(ran) == 5, what="stock Dramatiq did not run them")
    stock_worker.stop()
    assert (sorted(ran), old.count("shop.XQ")) == ([0, 1, 2, 3, 4], DEAD)


def test_our_own_vhost_a_wrong_queue_and_an_empty_origin_are_refused(rabbitmq, old, migrate):
    status, _, said = migrate(rabbitmq)
    assert (status, "a vhost into itself" in said) == (1, True)

    process = migrate.start(old.url, "--queue", "shpo")
    assert "no actor of shop reads shpo" in process.communicate(timeout=30)[1]
    assert process.returncode == 1

    status, parts, _ = migrate(old.url)
    assert (status, [each["exists"] for each in parts.values()]) == (1, [False, False])


def test_thousands_of_messages_go_quickly(stock, old, shop, migrate):
    with pika.BlockingConnection(pika.URLParameters(old.url)) as connection:
        stock.declare_queue("shop", ensure=True)
        channel, good = connection.channel(), stock.get_actor("good")
        for n in range(5000):
            channel.basic_publish("", "shop", good.message(n).encode(), pika.BasicProperties(delivery_mode=2))
    began = time.monotonic()

    status, parts, _ = migrate(old.url)

    assert (status, parts["shop"]["moved"], shop.count()) == (0, 5000, 5000)
    assert time.monotonic() - began < 20
