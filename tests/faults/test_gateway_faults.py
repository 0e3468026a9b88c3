"""The gateway while RabbitMQ is killed under load: what got a 202 is done once, and who asks again gets one job."""

import itertools
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from gateway import SITE, Gateway, add_token
from node import rabbitmqctl
from processes import Worker, until

PROOF = bool(os.environ.get("PROOF"))
RATE = 200 if PROOF else 40
BEFORE, AFTER = (10, 10) if PROOF else (1.5, 1.5)  # seconds of load around the outage
SENDERS = 60 if PROOF else 16


@pytest.fixture
def environment(own_node, tmp_path):
    """A vhost of this test's own on a RabbitMQ that may be killed, and a store."""
    rabbitmqctl(own_node, "add_vhost", "asked")
    rabbitmqctl(own_node, "set_permissions", "-p", "asked", "guest", ".*", ".*", ".*")
    (tmp_path / "ledger").touch()
    yield {
        "DUTIFUL_RABBITMQ__URL": own_node.url.replace("%2F", "asked"),
        "DUTIFUL_RABBITMQ__PUBLISH_TIMEOUT_SECONDS": "2",
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
        "SHOP_LEDGER": str(tmp_path / "ledger"),
    }
    rabbitmqctl(own_node, "delete_vhost", "asked")


@pytest.fixture
def client(environment, tmp_path):
    token = add_token(environment["DUTIFUL_STORE__URL"], "shop", "order")
    gateway = Gateway(environment, tmp_path)
    worker = Worker(SITE, environment, tmp_path, "-p", "1", "-t", "4", module="counter")
    try:
        gateway.wait_until_ready()
        worker.wait_until_ready()
        limits = httpx.Limits(max_connections=SENDERS)
        with gateway.client(token, limits=limits) as client:
            yield client
    finally:
        gateway.kill()
        worker.kill()


def ask(client, number):
    """One request; every second one has a key, and is repeated until it is accepted."""
    named = {"Idempotency-Key": f"order-{number}"} if number % 2 else {}
    body = {"arguments": {"number": number, "lines": []}}
    deadline = time.monotonic() + 60
    while True:
        answer = client.post("/v1/jobs/order", json=body, headers=named)
        if answer.status_code != 202:
            assert answer.status_code in {409, 503}, answer.text
            assert int(answer.headers["retry-after"]) >= 1
        if answer.status_code == 202 or not named:
            return number, answer.status_code
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.3)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_got_a_202_while_rabbitmq_was_killed_is_done_once(own_node, client, tmp_path):
    over = threading.Event()
    with ThreadPoolExecutor(SENDERS) as senders:
        asked = []

        def load():
            began = time.monotonic()
            for number in itertools.count():
                if over.wait(max(0, began + number / RATE - time.monotonic())):
                    return
                asked.append(senders.submit(ask, client, number))

        loading = threading.Thread(target=load)
        loading.start()
        time.sleep(BEFORE)
        own_node.kill()
        own_node.start()
        time.sleep(AFTER)
        over.set()
        loading.join()
        answers = dict(each.result() for each in asked)

    accepted = {number for number, status in answers.items() if status == 202}

    def done():
        lines = (tmp_path / "ledger").read_text().splitlines()
        return Counter(int(line.split()[1]) for line in lines)

    until(lambda: accepted <= done().keys(), seconds=60, what="what was accepted is not all done")
    assert {number for number in answers if number % 2} <= accepted, "who asks again is accepted in the end"
    assert len(accepted) < len(answers), "nobody was refused, so nothing was shown"
    assert set(done().values()) == {1}
