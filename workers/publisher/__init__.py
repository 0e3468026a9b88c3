"""The publisher is what other services import, as `dutiful_publisher`: it sends jobs and runs none."""

from .aio import AsyncPublisher
from .client import Publisher
from .jobs import Job
from .known import KnownContracts
from .recording import RecordingPublisher

__all__ = ["AsyncPublisher", "Job", "KnownContracts", "Publisher", "RecordingPublisher"]
