"""Our broker on a real RabbitMQ: what it promises when queues are deleted, and how jobs lead to other jobs."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import dramatiq
import httpx
import pytest
from processes import Queue, envelope, until

from workers import envelope as wire
from workers.errors import ContractError, PublishRefused


class TestReconnection:
    def test_what_the_dead_channel_had_handed_out_runs_once(self, start, shop, vhost):
        worker = start("-p", "1", "-t", "2")
        for number, seconds in enumerate([6, 6, 1, 1]):
            shop.publish(envelope("slow", n=number, seconds=seconds))
        until(lambda: "slow 1 began" in worker.lines())
        until(lambda: shop.count() == 0, what="the others were not prefetched")

        vhost.cut(least=1)

        until(lambda: {f"slow {number} ended" for number in range(4)} <= set(worker.lines()))
        until(lambda: len(worker.events("job_duplicate")) >= 2, what="the two that ran did not come again")
        assert sorted(worker.lines()) == sorted(f"slow {n} {what}" for n in range(4) for what in ("began", "ended"))


class TestDeclaring:
    def test_a_deleted_queue_is_declared_again_by_the_next_send(self, broker, job, noted, vhost, shop):
        send = job(broker, noted[0])
        send.send()

        vhost.delete("queues", "shop")
        send.send()

        until(lambda: shop.count() == 1)

    @pytest.mark.parametrize("delay", [None, 100])
    def test_a_vhost_that_was_emptied_is_declared_again_by_the_next_send(self, make_broker, job, noted, vhost, delay):
        send = job(make_broker(publish_timeout_seconds=10), noted[0])
        send.send()

        for kind in ("queues", "exchanges"):
            for each in vhost.client.get(f"/api/{kind}/{vhost.name}").json():
                if each["name"] and not each["name"].startswith("amq."):
                    delete(vhost, kind, each["name"])
        send.send_with_options(delay=delay)

        until(lambda: vhost.shop.count() == 1)

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
    def test_too_large_a_message_is_refused_at_send(self, broker, job, shop):
        broker.declare_queue("shop", ensure=True)

        def read(text: str) -> None: ...

        with pytest.raises(ContractError, match="at most 1048576 bytes"):
            job(broker, read).send(text="x" * 1_048_576)
        assert shop.count() == 0

    def test_what_was_accepted_just_below_the_limit_may_grow_in_a_retry_and_in_a_dead_letter(
        self, broker, job, work, shop
    ):
        attempts = []

        def failing(text: str) -> None:
            attempts.append(len(text))
            raise RuntimeError("not yet")

        pause = timedelta(milliseconds=100)
        send = job(broker, failing, max_retries=1, min_backoff=pause, max_backoff=pause)
        room = broker.max_message_bytes - len(wire.body(send.message("")))
        with pytest.raises(ContractError, match="too large"):
            broker.enqueue_many([send.message("x" * (room + 1))])
        worker = work(broker)

        send.send("x" * room)

        until(lambda: len(attempts) == 2, what="the retry did not come back")
        worker.stop()
        broker.close()
        assert (shop.count(), len(shop.dead())) == (0, 1)

    @pytest.mark.parametrize("callback", ["on_success", "on_failure", "on_retry_exhausted"])
    def test_what_a_job_has_called_back_may_be_larger_than_what_is_sent(self, broker, job, work, callback):
        told = []

        def end(text: str) -> int:
            if callback != "on_success":
                raise RuntimeError("not today")
            return len(text)

        def tell(message: dict, what: Any) -> None:
            told.append(len(message["kwargs"]["text"]))

        job(broker, tell)
        send = job(broker, end, max_retries=0, **{callback: "tell"})
        room = broker.max_message_bytes - len(wire.body(send.message("")))
        work(broker)

        send.send("x" * room)

        until(lambda: told, what="the callback was not sent")
        assert told == [room]

    def test_an_id_that_amqp_can_t_carry_is_refused_at_send(self, broker, job, noted):
        send = job(broker, noted[0])

        with pytest.raises(ContractError, match=r"1 to 255 bytes.*received 400 bytes"):
            send.send_with_options(message_id="é" * 200)
        with pytest.raises(ContractError, match=r"1 to 255 bytes.*received 400 bytes"):
            broker.enqueue_many([send.message()._replace(message_id="é" * 200)])

    def test_what_amqp_can_t_carry_fails_alone(self, broker, job, noted, shop):
        send = job(broker, noted[0])
        send.send()
        good = broker.post(send.message(n=1))
        bad = [broker.post(send.message(n=n)) for n in range(3)]
        bad[0].properties.message_id = "é" * 200
        bad[1].properties.headers = {"dutiful-key": object()}
        bad[2].routing_key = "é" * 200

        broker.publisher.publish([*bad, good])

        for post in bad:
            with pytest.raises(PublishRefused, match="what AMQP can carry"):
                post.wait(1)
        good.wait(1)
        assert shop.count() == 2

    def test_too_large_a_message_of_another_publisher_is_a_dead_letter_and_neither_read_nor_run(
        self, broker, job, work, shop
    ):
        lengths = []

        def read(text: str) -> None:
            lengths.append(len(text))

        job(broker, read)
        broker.declare_queue("shop", ensure=True)
        just, too_large = (envelope("read", text="x" * (broker.max_message_bytes - more)) for more in (1000, 0))
        no_message = b"{" * (broker.max_message_bytes + 1)
        shop.publish(too_large, no_message, just, exchange="")
        shop.publish(too_large, headers={"dutiful-attempt": 1, "dutiful-deferrals": 0}, exchange="")
        work(broker)

        until(lambda: shop.count("shop.XQ") == 3)
        until(lambda: lengths)
        letters = shop.dead()
        assert lengths == [broker.max_message_bytes - 1000]
        assert sorted(body for _, body in letters) == sorted([too_large, too_large, no_message])
        for properties, body in letters:
            assert properties.headers["dutiful-reason"] == "contract"
            said = properties.headers["dutiful-exception-message"]
            assert said.startswith("a message for shop is too large; expected at most 1048576 bytes")
            assert f"received {len(body)} bytes" in said

    def test_an_idle_link_that_was_closed_costs_the_caller_nothing(self, broker, job, noted, shop, vhost):
        send = job(broker, noted[0])
        send.send()

        vhost.cut()
        send.send()

        assert shop.count() == 2


class TestDelays:
    @pytest.mark.long
    def test_a_delayed_message_survives_a_kill_of_rabbitmq(self, nodes_of_our_own, make_broker, job, noted, work):
        note, notes = noted
        with nodes_of_our_own(["patient"]) as (node,):
            broker = make_broker(node.url, publish_timeout_seconds=10)  # it makes its first thirty queues
            send = job(broker, note)
            # RabbitMQ 3.10 gives no leader to a quorum queue that was declared in the last moment before a kill.
            send.send_with_options(kwargs={"n": 6}, delay=3000)
            until(lambda: Queue(node.url, "shop").count() == 1, what="the ladder did not work")
            send.send_with_options(kwargs={"n": 7}, delay=3000)

            node.kill()
            node.start()
            work(broker)

            until(lambda: len(notes) == 2)
            assert sorted(number for number, _ in notes) == [6, 7]
            broker.close()


class TestComposition:
    @pytest.fixture
    def pipe(self, broker, job):
        """A pipe of three, whose second is async; what the second began with, and what the last was given."""
        began, ended = [], []

        def double(n: int) -> int:
            return 2 * n

        async def add(n: int, m: int) -> int:
            began.append((n, m))
            return n + m

        def end(n: int, name: str) -> None:
            ended.append((n, name))

        first, second, last = job(broker, double), job(broker, add), job(broker, end, queue_name="office")
        pipe = dramatiq.pipeline([first.message(3), second.message(100), last.message(name="x")], broker=broker)
        pipe.began, pipe.ended = began, ended
        return pipe

    def test_a_pipeline_hands_each_result_on(self, broker, work, pipe):
        work(broker)

        pipe.run()

        until(lambda: pipe.ended)
        assert pipe.ended == [(106, "x")]

    def test_a_job_whose_next_can_t_be_published_is_not_acknowledged(self, broker, work, pipe, vhost, caplog):
        shop = vhost.shop
        caplog.set_level(logging.INFO, "dutiful.jobs")
        for queue in ("shop", "office"):
            broker.declare_queue(queue, ensure=True)
        vhost.limit("office", 5)
        last = broker.get_actor("end")
        until(lambda: refused(broker, last.message(n=0, name="filler")), what="the last one's queue took everything")
        fillers = shop.count("office")
        worker = work(broker, queues={"shop"})

        pipe.run()
        until(lambda: "'reason': 'unsent'" in caplog.text, what="it isn't put back until its next can be published")
        assert (shop.count("office"), shop.dead()) == (fillers, [])
        # RabbitMQ takes messages again when there is room, and not when a limit ends.
        vhost.delete("queues", "office/contents")

        until(lambda: shop.count("office") == 1, what="its next was not published")
        worker.stop()
        broker.close()
        assert pipe.began == [(100, 6)], "it is done, and runs no second time"
        assert (shop.count(), shop.dead()) == (0, [])

    def test_a_group_runs_all_of_its_jobs(self, broker, job, noted, work):
        note, notes = noted
        send = job(broker, note)
        work(broker)

        dramatiq.group([send.message(n=n) for n in range(5)], broker=broker).run()

        until(lambda: len(notes) == 5)
        assert sorted(n for n, _ in notes) == [0, 1, 2, 3, 4]


def delete(vhost, kind, name):
    """An exchange or a queue, which may have gone with another one."""
    answer = vhost.client.delete(f"/api/{kind}/{vhost.name}/{name}")
    assert answer.status_code in {httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND}, answer.text


def refused(broker, message):
    try:
        broker.enqueue(message)
    except PublishRefused:
        return True
    return False
