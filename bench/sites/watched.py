"""An empty job on dutiful with the signals that BENCH_SIGNALS names: none, all, or all with traces."""

import os

from bench.finish import finished
from workers import actor
from workers.broker import setup_broker
from workers.middleware.error_reports import ErrorReports
from workers.middleware.job_log import JobLog
from workers.middleware.job_metrics import JobMetrics
from workers.middleware.vital_signs import VitalSigns

WANTED = os.environ["BENCH_SIGNALS"]
SIGNALS = (JobMetrics, JobLog, ErrorReports, VitalSigns)
if WANTED == "traces":
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    # One trace in a hundred is kept. The SDK must be there before the broker is made.
    trace.set_tracer_provider(TracerProvider(sampler=TraceIdRatioBased(0.01)))

broker = setup_broker()
if WANTED == "none":
    broker.middleware[:] = [each for each in broker.middleware if not isinstance(each, SIGNALS)]


@actor(queue_name="bench", short=True, key=None, owner="bench", expects="a number", rollback="none")
def empty() -> None:
    """Do nothing but be counted."""
    finished()
