"""Jobs as publishers make them, seen through the one that keeps them."""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from workers import envelope
from workers.errors import ConfigurationError, ContractError, QueueMissing
from workers.publisher import KnownContracts, RecordingPublisher

CONTRACTS = KnownContracts.from_folder(Path(__file__).parents[4] / "docs/contracts")
FEED = {"source": "posts.ndjson", "feed": "nightly"}


@pytest.fixture
def publisher():
    return RecordingPublisher(CONTRACTS)


def test_a_job_is_a_message_that_a_worker_reads(publisher):
    job = publisher.publish("content.import_feed", FEED, key="nightly", expires_in=timedelta(hours=1))

    properties = envelope.properties(job)
    read = envelope.decode(job.body, properties.headers)
    assert (read.actor_name, read.queue_name, read.kwargs) == ("content.import_feed", "content", FEED)
    assert read.options == {"key": "nightly", "expires_in": 3_600_000}
    assert read.message_id == job.message_id
    assert publisher.jobs == [job]


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ({"source": 1}, {}, "source: is no string"),
        ({}, {}, "source: is missing"),
        (FEED | {"colour": "red"}, {}, "colour"),
        (FEED, {"key": ""}, "1 to 255 characters"),
        (FEED, {"key": "x" * 256}, "1 to 255 characters"),
        (FEED, {"message_id": "é" * 200}, "AMQP can't carry"),
        (FEED, {"at": datetime(2030, 1, 1)}, "without a time zone"),  # noqa: DTZ001
        (FEED, {"at": datetime(2030, 1, 1, tzinfo=UTC), "delay": timedelta(1)}, "both"),
        ({"source": "x" * 1_100_000}, {}, "too large"),
        ({"source": object()}, {}, "JSON"),
    ],
)
def test_a_job_that_can_t_be_is_refused_and_not_kept(publisher, arguments, options, said):
    with pytest.raises(ContractError) as refusal:
        publisher.publish("content.import_feed", arguments, **options)

    assert said in str(refusal.value)
    assert publisher.jobs == []


def test_an_actor_that_nobody_has_told_of_is_refused(publisher):
    with pytest.raises(ContractError, match=r"one of content\.finish_feed"):
        publisher.publish("content.import", FEED)


def test_without_contracts_the_queue_must_be_said():
    publisher = RecordingPublisher()

    with pytest.raises(ContractError, match="queue="):
        publisher.publish("ship", {"order_id": 7})
    assert publisher.publish("ship", {"order_id": 7}, queue="shipping").queue_name == "shipping"


def test_arguments_that_nest_too_deep_are_refused():
    deep = []
    for _ in range(70):
        deep = [deep]
    deep[0].append(1)

    with pytest.raises(ContractError, match="nest too deep"):
        RecordingPublisher().publish("ship", {"order": deep}, queue="shipping")


def test_a_moment_becomes_a_delay_and_the_past_is_now(publisher):
    soon = publisher.job("content.import_feed", FEED, at=datetime.now(UTC) + timedelta(minutes=5))
    past = publisher.job("content.import_feed", FEED, at=datetime(2020, 1, 1, tzinfo=UTC))

    assert timedelta(minutes=4) < soon.delay <= timedelta(minutes=5)
    assert past.delay is None


@pytest.mark.parametrize(
    ("contracts", "actor", "key", "repeatable"),
    [
        (CONTRACTS, "upkeep.canary", None, True),
        (CONTRACTS, "upkeep.probe", "k", False),
        (None, "upkeep.canary", None, False),
        (None, "upkeep.canary", "k", True),
    ],
)
def test_a_job_is_repeatable_only_where_that_is_known(contracts, actor, key, repeatable):
    arguments = {} if actor == "upkeep.canary" else {"queue": "site"}
    if contracts is not None:
        arguments = dict.fromkeys(contracts.contract(actor).schema.get("required", ()), "x")

    job = RecordingPublisher(contracts).job(actor, arguments, key=key, queue="site")

    assert job.is_repeatable is repeatable


def test_a_job_goes_along_with_the_span_that_is_open(publisher):
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with trace.use_span(TracerProvider().get_tracer("test").start_span("request")) as span:
        job = publisher.job("content.import_feed", FEED)
        mine = publisher.job("content.import_feed", FEED, traceparent=given)

    assert f"{span.get_span_context().trace_id:032x}" in job.options["traceparent"]
    assert mine.options["traceparent"] == given
    assert "traceparent" not in publisher.job("content.import_feed", FEED).options


def test_an_error_can_be_rehearsed(publisher):
    publisher.error = QueueMissing("there is no such queue")

    with pytest.raises(QueueMissing) as caught:
        publisher.publish("content.import_feed", FEED)

    assert caught.value.message.actor_name == "content.import_feed"


def test_many_are_kept_in_their_order(publisher):
    told = []
    count = publisher.publish_many(
        "content.import_feed", ({"source": f"{n}.ndjson"} for n in range(3)), progress=told.append
    )

    assert (count, told) == (3, [3])
    assert [job.kwargs["source"] for job in publisher.jobs] == ["0.ndjson", "1.ndjson", "2.ndjson"]


@pytest.fixture
def gateway():
    """A server of contracts: what it was asked, and its address."""
    asked = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"]))
            body = json.dumps({"contracts": {"content.import_feed": CONTRACTS.contract("content.import_feed").schema}})
            self.send_response(200 if self.headers["Authorization"] == "Bearer good" else 401)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_): ...

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield asked, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_contracts_come_from_a_gateway(gateway):
    asked, url = gateway
    contracts = KnownContracts.from_gateway(url, "good")

    assert contracts.contract("content.import_feed").queue == "content"
    assert asked == [("/v1/contracts", "Bearer good")]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "file:///etc", ""])
def test_a_gateway_that_can_t_be_asked_is_named(url):
    with pytest.raises(ConfigurationError):
        KnownContracts.from_gateway(url, "good")


def test_a_gateway_that_says_no_is_named_without_the_token(gateway):
    with pytest.raises(ConfigurationError) as refusal:
        KnownContracts.from_gateway(gateway[1], "hunter2")

    assert "401" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_a_folder_without_contracts_is_refused(text, tmp_path):
    if text is not None:
        (tmp_path / "ship.json").write_text(text)

    with pytest.raises(ConfigurationError):
        KnownContracts.from_folder(tmp_path)
