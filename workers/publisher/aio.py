"""An asynchronous publisher sends jobs from an event loop: other tasks go on until the confirm is there."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, Self

from ..errors import PublishError
from ..transport.post import Post
from .jobs import Job
from .posting import GRACE_SECONDS
from .sender import Sender

_WINDOW: Final = 1_000


class AsyncPublisher(Sender):
    """As Publisher, for the tasks of one event loop. A task that is canceled may have sent its job all the same.

    Parameters:
      those of Publisher.

    Raises:
      ConfigurationError: the address can't be read.
    """

    @cached_property
    def _room(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(_WINDOW)  # more on their way would wait for room, and the loop with them

    async def publish(self, actor: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """As Publisher.publish."""
        return await self.send(self.job(actor, arguments, **options))

    async def send(self, job: Job) -> Job:
        """As Publisher.send."""
        try:
            if self._posting.needs_a_look(job):
                await asyncio.to_thread(self._posting.look, job.queue_name, self._timeout_seconds)
            async with self._room:
                post = self._posting.post(job, self._timeout_seconds)
                await self._answer(post)
            post.wait(0)
        except PublishError as error:
            raise self._posting.explained(error, job) from None
        return job

    async def publish_many(self, actor: str, arguments: Iterable[Mapping[str, Any]], **options: Any) -> int:
        """As Publisher.publish_many."""
        return await self.send_many([self.job(actor, each, **options) for each in arguments])

    async def send_many(self, jobs: Iterable[Job]) -> int:
        """As Publisher.send_many; when one fails, those behind it may be on their way still."""
        return len(await asyncio.gather(*(self.send(job) for job in jobs)))

    async def close(self) -> None:
        """As Publisher.close."""
        await asyncio.to_thread(self._posting.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _answer(self, post: Post) -> None:
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(answered.set)

        post.told = tell
        self._posting.transport.publish([post])
        with suppress(TimeoutError):
            await asyncio.wait_for(answered.wait(), self._timeout_seconds + GRACE_SECONDS)
