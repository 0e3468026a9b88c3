"""Our broker on a real RabbitMQ: what it promises when the link, the queues or the whole broker go away."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import dramatiq
import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from processes import Queue, Worker, envelope, until
from proxy import Proxy

from deploy.local import Stack
from workers import actor
from workers.broker import DutifulBroker, build_middleware
from workers.errors import BrokerUnreachable, ContractError
from workers.settings import Settings
from workers.store.engine import create_store_engine

SITE = Path(__file__).parent / "worker_site"
CARD = {"queue_name": "shop", "owner": "tests", "expects": "a line in a list", "rollback": "none"}
PUBLISH_SECONDS, CONNECT_SECONDS = 2, 2


@pytest.fixture
def make_broker(rabbitmq, tmp_path):
    made = []

    def make(url=rabbitmq):
        engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
        broker = DutifulBroker(
            url=url,
            middleware=build_middleware(Settings.load(), engine),
            connect_timeout_seconds=CONNECT_SECONDS,
            publish_timeout_seconds=PUBLISH_SECONDS,
        )
        broker.store = engine
        made.append(broker)
        return broker

    yield make
    for broker in made:
        broker.close()
        broker.store.dispose()


@pytest.fixture
def broker(make_broker):
    return make_broker()


@pytest.fixture
def work():
    """Start a worker for a broker: work(broker, threads=2)."""
    started = []

    def start(broker, threads=2):
        worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=threads)
        worker.start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.stop(timeout=20_000)


@pytest.fixture
def proxy(rabbitmq):
    address = urlsplit(rabbitmq)
    with Proxy(address.hostname, address.port) as between:
        between.url = rabbitmq.replace(f":{address.port}/", f":{between.port}/")
        yield between


@pytest.fixture(scope="module")
def own_node(installed_servers, run_folder):
    """A RabbitMQ that this module may kill and starve."""
    node = Stack.start(run_folder / "rabbitmq-of-test-broker", services=["rabbitmq"])
    yield node
    node.stop(remove=True)


@pytest.fixture
def shop(rabbitmq):
    return Queue(rabbitmq, "shop")


@pytest.fixture
def cut_all(management, rabbitmq):
    """Close every connection of the test's vhost, as an operator can."""
    vhost = rabbitmq.rpartition("/")[2]

    def cut():
        found = until(lambda: management.get(f"/api/vhosts/{vhost}/connections").json(), what="no connection was seen")
        for each in found:
            management.delete(f"/api/connections/{each['name']}")
        return len(found)

    return cut


def job(broker, function, **options):
    return actor(broker=broker, **CARD | options)(function)


def noted():
    """A job's function, and what it notes: which number, and when."""
    notes = []

    def note(n: int = 0) -> None:
        notes.append((n, time.monotonic()))

    return note, notes


class TestReconnection:
    @pytest.fixture
    def start(self, rabbitmq, tmp_path):
        started = []
        ledger = tmp_path / "ledger"
        ledger.touch()

        def begin(*arguments):
            worker = Worker(
                SITE,
                {
                    "DUTIFUL_RABBITMQ__URL": rabbitmq,
                    "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
                    "SHOP_LEDGER": str(ledger),
                },
                tmp_path,
                *arguments,
            )
            worker.lines = lambda: ledger.read_text().splitlines()
            worker.wait_until_ready()
            started.append(worker)
            return worker

        yield begin
        for worker in started:
            worker.kill()

    def test_what_the_dead_channel_had_handed_out_runs_once(self, start, shop, cut_all):
        worker = start("-p", "1", "-t", "2")
        for number, seconds in enumerate([6, 6, 1, 1]):
            shop.publish(envelope("slow", n=number, seconds=seconds))
        until(lambda: "slow 1 began" in worker.lines())
        until(lambda: shop.count() == 0, what="the others were not prefetched")

        assert cut_all()

        until(lambda: {f"slow {number} ended" for number in range(4)} <= set(worker.lines()))
        until(lambda: len(worker.events("job_duplicate")) >= 2, what="the two that ran did not come again")
        assert sorted(worker.lines()) == sorted(f"slow {n} {what}" for n in range(4) for what in ("began", "ended"))


class TestDeclaring:
    def test_a_deleted_queue_is_declared_again_by_the_next_send(self, broker, management, rabbitmq, shop):
        send = job(broker, noted()[0])
        send.send()

        delete(management, rabbitmq, "queues", "shop")
        send.send()

        until(lambda: shop.count() == 1)

    @pytest.mark.parametrize("delay", [None, 100])
    def test_a_vhost_that_was_emptied_is_declared_again_by_the_next_send(
        self, broker, management, rabbitmq, shop, delay
    ):
        send = job(broker, noted()[0])
        send.send()

        for kind in ("queues", "exchanges"):
            for each in management.get(f"/api/{kind}/{rabbitmq.rpartition('/')[2]}").json():
                if each["name"] and not each["name"].startswith("amq."):
                    delete(management, rabbitmq, kind, each["name"])
        send.send_with_options(delay=delay)

        until(lambda: shop.count() == 1)

    def test_eight_threads_and_eight_processes_worth_of_brokers_can_declare_at_once(self, make_broker, rabbitmq):
        shared = make_broker()
        brokers = [shared] * 8 + [make_broker() for _ in range(8)]
        together = threading.Barrier(len(brokers))

        def declare(broker):
            together.wait()
            for name in ("shop", "shop", "office"):
                broker.declare_queue(name, ensure=True)

        with ThreadPoolExecutor(len(brokers)) as pool:
            list(pool.map(declare, brokers))

        assert Queue(rabbitmq, "shop").count() == Queue(rabbitmq, "office").count() == 0


class TestPublishing:
    def test_too_large_a_message_is_refused_at_send(self, broker, shop):
        broker.declare_queue("shop", ensure=True)

        def read(text: str) -> None: ...

        with pytest.raises(ContractError, match="at most 1048576 bytes"):
            job(broker, read).send(text="x" * 1_048_576)
        assert shop.count() == 0

    def test_a_broker_that_refuses_connections_is_named_unreachable(self, make_broker, proxy):
        proxy.refuse()
        send = job(make_broker(proxy.url), noted()[0])

        with pytest.raises(BrokerUnreachable, match="nothing was sent"), in_time():
            send.send()

    def test_an_idle_link_that_was_closed_costs_the_caller_nothing(self, broker, shop, cut_all):
        send = job(broker, noted()[0])
        send.send()

        cut_all()
        send.send()

        assert shop.count() == 2


class TestDelays:
    def test_a_delayed_message_survives_a_kill_of_rabbitmq(self, own_node, make_broker, work):
        broker = make_broker(own_node.environment["DUTIFUL_RABBITMQ__URL"])
        note, notes = noted()
        send = job(broker, note, queue_name="patient")
        broker.declare_queue("patient", ensure=True)
        # RabbitMQ 3.10 gives no leader to a quorum queue that was declared in the last moment before a kill.
        until(lambda: is_reported(own_node, "patient"), what="the queue was not reported as running")
        send.send_with_options(kwargs={"n": 7}, delay=3000)

        own_node.kill("rabbitmq")
        own_node.start_service("rabbitmq")
        own_node.wait_healthy("rabbitmq")
        work(broker)

        until(lambda: notes)
        assert [number for number, _ in notes] == [7]


class TestComposition:
    def test_a_pipeline_hands_each_result_on(self, broker, work):
        ended = []

        def double(n: int = 0) -> int:
            return 2 * n

        def end(n: int = 0) -> None:
            ended.append(n)

        first, last = job(broker, double), job(broker, end)
        work(broker)

        dramatiq.pipeline([first.message(n=3), first.message(), last.message()], broker=broker).run()

        until(lambda: ended)
        assert ended == [12]

    def test_a_group_runs_all_of_its_jobs(self, broker, work):
        note, notes = noted()
        send = job(broker, note)
        work(broker)

        dramatiq.group([send.message(n=n) for n in range(5)], broker=broker).run()

        until(lambda: len(notes) == 5)
        assert sorted(n for n, _ in notes) == [0, 1, 2, 3, 4]


class in_time:  # noqa: N801  reads as a phrase
    """The block ends within the publish timeout and the connect timeout."""

    def __enter__(self):
        self.began = time.monotonic()

    def __exit__(self, *_):
        took = time.monotonic() - self.began
        assert took < PUBLISH_SECONDS + CONNECT_SECONDS + 0.5, f"it took {took:.1f} s"


def delete(management, rabbitmq, kind, name):
    answer = management.delete(f"/api/{kind}/{rabbitmq.rpartition('/')[2]}/{name}")
    assert answer.status_code in {httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND}, answer.text


def is_reported(node, queue):
    address = urlsplit(node.environment["DUTIFUL_RABBITMQ__URL"])
    page = f"{node.url('rabbitmq', 15672)}/api/queues/dutiful/{queue}"
    return httpx.get(page, auth=(address.username, address.password)).json().get("state") == "running"
