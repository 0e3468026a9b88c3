"""Tracing makes a span of each attempt, linked to the trace in which its job was sent."""

import sys
from typing import TYPE_CHECKING, Any

from dramatiq import Broker, Message, Middleware

from workers.delivery import Delivery

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.trace import Span


def tracing() -> list[Middleware]:
    """The middleware where an OpenTelemetry SDK is set up by now, else nothing: then no job pays for it."""
    if "opentelemetry.trace" not in sys.modules:
        return []
    from opentelemetry import trace  # noqa: PLC0415  only where it is used

    return [] if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider) else [Tracing()]


class Tracing(Middleware):
    """Spans for the SDK that the site has set up.

    A message says in its `traceparent` where it was sent from. Each attempt is a trace of its own with a link there: a
    retry an hour later is no part of a request that has long ended. A retry keeps the place of the first sending.
    """

    def __init__(self) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415  as above
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._trace, self._context = trace, context
        self._tracer = trace.get_tracer("dutiful")
        self._propagator = TraceContextTextMapPropagator()
        self._open: dict[int, tuple[Span, Token[Any]]] = {}

    def before_enqueue(self, broker: Broker, message: Message[Any], delay: Any) -> None:
        """Write into a message where it is sent from."""
        if "traceparent" in message.options:
            return
        producer = self._trace.SpanKind.PRODUCER
        about = _about("send", message.queue_name, message)
        with self._tracer.start_as_current_span(f"send {message.queue_name}", kind=producer, attributes=about):
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier)
        if "traceparent" in carrier:
            message.options["traceparent"] = carrier["traceparent"]

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Begin the attempt's span, and make it the thread's."""
        context, trace = self._context, self._trace
        sent = self._propagator.extract({"traceparent": str(message.options.get("traceparent", ""))}, context.Context())
        origin = trace.get_current_span(sent).get_span_context()
        span = self._tracer.start_span(
            f"process {message.queue_name}",
            context=context.Context(),
            kind=trace.SpanKind.CONSUMER,
            links=[trace.Link(origin)] if origin.is_valid else [],
            attributes=_about("process", message.queue_name, message) | {"dutiful.attempt": message.attempt},
        )
        self._open[id(message)] = span, context.attach(trace.set_span_in_context(span))

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """End it, with the class of what was raised and no word of its text."""
        span, token = self._open.pop(id(message), (None, None))
        if span is None or token is None:
            return
        self._context.detach(token)
        if exception is not None:
            span.set_attribute("error.type", type(exception).__name__)
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
        span.end()

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """End it."""
        self.after_process_message(broker, message)


def _about(operation: str, queue: str, message: Any) -> dict[str, Any]:
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "messaging.message.id": message.message_id,
        "dutiful.actor": message.actor_name,
    }
