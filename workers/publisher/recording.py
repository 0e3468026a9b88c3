"""A recording publisher keeps jobs instead of sending them, for the tests of a service."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from ..errors import PublishError
from .jobs import MAX_MESSAGE_BYTES, Job, Workshop
from .known import KnownContracts


class RecordingPublisher:
    """Has Publisher's methods, and checks what it is given in the same way.

    Parameters:
      contracts: as Publisher takes them.
      max_message_bytes: likewise.

    Attributes:
      jobs: what was sent, in this order.
      error: raised instead, with the job in it, when it is set.
    """

    def __init__(self, contracts: KnownContracts | None = None, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._workshop = Workshop(contracts, max_message_bytes)
        self.jobs: list[Job] = []
        self.error: PublishError | None = None

    def job(self, actor: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """As Publisher.job."""
        return self._workshop.make(actor, arguments, **options)

    def publish(self, actor: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """As Publisher.publish."""
        return self.send(self.job(actor, arguments, **options))

    def send(self, job: Job) -> Job:
        """Keep a job, or raise the error that was set."""
        if self.error is not None:
            self.error.message = job
            raise self.error
        self.jobs.append(job)
        return job

    def publish_many(self, actor: str, arguments: Iterable[Mapping[str, Any]], **options: Any) -> int:
        """As Publisher.publish_many."""
        progress = options.pop("progress", None)
        return self.send_many((self.job(actor, each, **options) for each in arguments), progress=progress)

    def send_many(self, jobs: Iterable[Job], *, progress: Callable[[int], None] | None = None) -> int:
        """As Publisher.send_many."""
        count = len([self.send(job) for job in jobs])
        if progress is not None:
            progress(count)
        return count

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
