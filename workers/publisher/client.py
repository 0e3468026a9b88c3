"""A publisher sends jobs from threads: it returns when RabbitMQ has them on a quorum of disks."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, Self

from ..errors import ConfigurationError, PublishError
from ..event_loop import is_event_loop
from ..transport.post import Post
from .jobs import Job
from .posting import GRACE_SECONDS
from .sender import Sender

_BATCH: Final = 64
_WINDOW: Final = 2_000
_STRETCH: Final = 500


class Publisher(Sender):
    """Publishes jobs over one connection, which any number of threads may share.

    It connects when it is first used, connects anew by itself, and works on in a forked child. Make one for the
    process, and close it at the end, or use it as a context manager.

    Parameters:
      url: of RabbitMQ, with the vhost of dutiful; several, with ; between them, are tried in turn.
      app: the name of your service.
      contracts: what actors take. Without, only the worker sees a wrong argument, as a dead letter.
      publish_timeout_seconds: by when a message must be confirmed.
      connect_timeout_seconds: the longest that one try to connect may take.
      heartbeat_seconds: how often the link is checked.
      max_message_bytes: a larger message is refused; as the workers' DUTIFUL_RABBITMQ__MAX_MESSAGE_BYTES.
      ca_path: PEM file of the authorities that may sign RabbitMQ's certificate, for amqps://; None: those that this
        system trusts. Signature, host name and dates are always checked.

    Raises:
      ConfigurationError: the address can't be read.
    """

    def publish(self, actor: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """Make a job and send it; the options are those of `job`.

        Raises:
          ContractError: as `job`; nothing was sent.
          PublishError: as `send`.
        """
        return self.send(self.job(actor, arguments, **options))

    def send(self, job: Job) -> Job:
        """Send a job, and return it when it is confirmed.

        Raises:
          PublishError: it was not, or perhaps not, taken; the kind of error says which. `error.message` is the job:
            where `error.safe_to_retry`, send that very one again.
          ConfigurationError: this is an event loop, which must not wait.
        """
        self.send_many([job])
        return job

    def publish_many(self, actor: str, arguments: Iterable[Mapping[str, Any]], **options: Any) -> int:
        """Make and send a job for each of these arguments; how many were confirmed. As `send_many`."""
        progress = options.pop("progress", None)
        return self.send_many((self.job(actor, each, **options) for each in arguments), progress=progress)

    def send_many(self, jobs: Iterable[Job], *, progress: Callable[[int], None] | None = None) -> int:
        """Send jobs, thousands a second: none waits for the confirm of the one before.

        Parameters:
          jobs: taken as there is room, so that there may be any number of them.
          progress: told now and then how many are confirmed.

        Returns:
          how many were confirmed: all.

        Raises:
          PublishError: one was not, or perhaps not, taken; `error.message` is that one. Those before it were confirmed,
            some behind it may have been: sending all of the very same jobs again doubles none that has a key.
        """
        if is_event_loop():
            raise ConfigurationError(
                "a job can't be sent like this on an event loop: waiting would stop every other task",
                expected="AsyncPublisher",
                received="Publisher",
            )
        window: deque[tuple[Job, Post]] = deque()
        confirmed = 0
        for batch in _batches(jobs):
            posts = [self._post(job) for job in batch]
            self._posting.transport.publish(posts)
            window.extend(zip(batch, posts, strict=True))
            if len(window) > _WINDOW:
                confirmed += self._confirm_oldest(window, _STRETCH)
                if progress is not None:
                    progress(confirmed)
        confirmed += self._confirm_oldest(window, len(window))
        if progress is not None:
            progress(confirmed)
        return confirmed

    def close(self) -> None:
        """Close the connection, in a few seconds at most. Used again, it connects anew."""
        self._posting.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _post(self, job: Job) -> Post:
        if self._posting.needs_a_look(job):
            try:
                self._posting.look(job.queue_name, self._timeout_seconds)
            except PublishError as error:
                raise self._posting.explained(error, job) from error.__cause__
        return self._posting.post(job, self._timeout_seconds)

    def _confirm_oldest(self, window: deque[tuple[Job, Post]], count: int) -> int:
        """Wait for so many, first for the last of them: this thread then wakes up once, and not for each."""
        if count:
            window[count - 1][1].is_answered(self._timeout_seconds + GRACE_SECONDS)
        for _ in range(count):
            job, post = window.popleft()
            try:
                post.wait(self._timeout_seconds + GRACE_SECONDS)
            except PublishError as error:
                raise self._posting.explained(error, job) from None
        return count


def _batches(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    left = iter(jobs)
    while batch := list(islice(left, _BATCH)):
        yield batch
