# ruff: noqa: INP001  it becomes dutiful_publisher/__init__.py
"""The front door of the publisher: in the wheel, it is `dutiful_publisher/__init__.py`.

Publisher           sends jobs from threads
AsyncPublisher      sends jobs from an event loop
RecordingPublisher  keeps them, for tests
KnownContracts      what actors take, from exported files or from a gateway
Job                 one asked-for run of an actor
DutifulError …      what may be raised: what failed, what was expected, what was received, and whether to try again
"""

from .errors import (
    BrokerBlocked,
    BrokerUnreachable,
    ConfigurationError,
    ContractError,
    DutifulError,
    PublishError,
    PublishRefused,
    PublishUnconfirmed,
    QueueMissing,
)
from .publisher import AsyncPublisher, Job, KnownContracts, Publisher, RecordingPublisher

__all__ = [
    "AsyncPublisher",
    "BrokerBlocked",
    "BrokerUnreachable",
    "ConfigurationError",
    "ContractError",
    "DutifulError",
    "Job",
    "KnownContracts",
    "PublishError",
    "PublishRefused",
    "PublishUnconfirmed",
    "Publisher",
    "QueueMissing",
    "RecordingPublisher",
]
