"""Each attempt is a span, linked to where its job was sent."""

import json
from datetime import timedelta

import dramatiq
import pika
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import create_engine, select

from workers import actor, current_job, outbox
from workers.broker import setup_broker
from workers.middleware.tracing import tracing
from workers.rabbitmq import DutifulBroker
from workers.store import publisher_outbox, tables

CARD = {"owner": "tests", "expects": "nothing", "rollback": "none"}
setup_broker()
seen = []


@actor(**CARD, actor_name="traced", max_retries=1, min_backoff=timedelta(seconds=1))
def traced() -> None:
    seen.append(trace.get_current_span().get_span_context().span_id)
    if len(seen) == 1:
        raise ConnectionError("with an argument in its text")


@actor(**CARD, actor_name="tracing.parent")
def parent() -> None:
    seen.append(trace.get_current_span().get_span_context().span_id)
    with current_job().transaction():
        traced.send()


@pytest.fixture(scope="module")
def provider():
    """OpenTelemetry takes one a process, and for ever."""
    made = TracerProvider()
    trace.set_tracer_provider(made)
    return made


def test_without_an_sdk_there_is_no_middleware():
    assert tracing() == []


@pytest.fixture
def spans(provider, jobs, monkeypatch):
    broker = jobs.broker
    monkeypatch.setattr(broker, "middleware", [*broker.middleware[:2], *tracing(), *broker.middleware[2:]])
    monkeypatch.setattr(broker, "_found", {})  # who has which hook
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    provider.add_span_processor(processor)
    seen.clear()
    yield exporter
    processor.shutdown()


def test_each_attempt_has_a_trace_of_its_own_linked_to_the_request_that_sent_the_job(jobs, spans):
    with trace.get_tracer("a request").start_as_current_span("request") as request:
        traced.send()
    jobs.run()
    jobs.clock.advance(timedelta(minutes=1))
    jobs.run()

    sent, first, second = [span for span in spans.get_finished_spans() if span.name != "request"]
    assert (sent.name, sent.kind) == ("send default", SpanKind.PRODUCER)
    assert sent.context.trace_id == request.get_span_context().trace_id
    for attempt in (first, second):
        assert (attempt.name, attempt.kind) == ("process default", SpanKind.CONSUMER)
        assert [link.context.span_id for link in attempt.links] == [sent.context.span_id]
        assert attempt.context.trace_id != sent.context.trace_id
    assert seen == [first.context.span_id, second.context.span_id], "the job ran inside its span"
    assert [span.attributes["dutiful.attempt"] for span in (first, second)] == [1, 2]
    assert first.attributes["error.type"] == "ConnectionError"
    assert first.status.status_code is StatusCode.ERROR
    assert second.status.status_code is StatusCode.UNSET
    assert not [text for span in (first, second) for text in [str(span.to_json())] if "argument" in text]


def test_the_message_carries_the_place_and_the_log_its_trace(jobs, spans, caplog):
    with trace.get_tracer("a request").start_as_current_span("request"):
        message = traced.send()
    jobs.run()

    (sent,) = [span for span in spans.get_finished_spans() if span.kind is SpanKind.PRODUCER]
    trace_id = f"{sent.context.trace_id:032x}"
    assert message.options["traceparent"].startswith(f"00-{trace_id}-{sent.context.span_id:016x}-")
    assert f"'trace_id': '{trace_id}'" in caplog.text


def test_a_traceparent_that_says_nothing_is_no_link(jobs, spans):
    traced.send_with_options(traceparent="nonsense")
    jobs.run()

    (attempt,) = spans.get_finished_spans()
    assert attempt.links == ()


def test_a_message_of_a_transaction_says_which_attempt_has_stored_it(jobs, spans):
    parent.send()
    jobs.run()

    (child,) = [span for span in spans.get_finished_spans() if span.attributes.get("dutiful.actor") == "traced"][:1]
    assert [link.context.span_id for link in child.links] == [seen[0]]


def test_a_message_of_a_services_outbox_says_which_request_has_stored_it(spans, tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    with trace.get_tracer("a request").start_as_current_span("request") as request, engine.begin() as connection:
        publisher_outbox.create(connection)
        outbox.add(connection, traced.message())
        headers = json.loads(connection.execute(select(tables.publisher_outbox.c.headers)).scalar_one())

    assert headers["traceparent"].split("-")[2] == f"{request.get_span_context().span_id:016x}"


def test_each_message_of_many_says_where_they_were_sent(spans, rabbitmq):
    broker = DutifulBroker(url=rabbitmq, middleware=tracing())
    messages = [dramatiq.Message("many", "traced", (), {}, {}) for _ in range(3)]
    try:
        with trace.get_tracer("a request").start_as_current_span("request") as request:
            assert broker.enqueue_many(messages) == 3
    finally:
        broker.close()

    trace_id = f"{request.get_span_context().trace_id:032x}"
    with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
        channel = connection.channel()
        found = [channel.basic_get("many", auto_ack=True)[1].headers["traceparent"] for _ in messages]
    assert [each.split("-")[1] for each in found] == [trace_id] * 3
    assert len(set(found)) == 3, "each has a span of its own"
