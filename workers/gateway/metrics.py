"""Every metric of the gateway is defined here, in a registry of its own: it has none of a worker's.

Import it late, as workers.metrics.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.process_collector import ProcessCollector

from workers import metrics as jobs
from workers.histogram import Histogram

registry = CollectorRegistry()
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

requests = Counter(
    "dutiful_gateway_requests_total", "Requests that were answered.", ["route", "status"], registry=registry
)
request_seconds = Histogram(
    "dutiful_gateway_request_seconds",
    "From a request's first byte to its answer's last.",
    ["route"],
    buckets=_SECONDS,
    registry=registry,
)
replays = Counter("dutiful_gateway_replays_total", "Requests that got the answer of an earlier one.", registry=registry)
in_hand = Gauge("dutiful_gateway_requests_in_hand", "Requests that publish, or wait to.", registry=registry)
ready = Gauge("dutiful_gateway_ready", "Whether RabbitMQ and the store answer.", registry=registry)

for each in (jobs.jobs_enqueued, jobs.build_info):
    registry.register(each)
ProcessCollector(registry=registry)
