"""Hands are the threads on which requests publish: a bounded number, and a bounded line before them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from workers.gateway import metrics
from workers.gateway.problems import Refusal

_WAITING_PER_THREAD: Final = 4

T = TypeVar("T")


class Hands:
    """A bounded number of threads for requests that publish. Who comes when too many wait is told so at once."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="dutiful-gateway")
        self._room = threads * (1 + _WAITING_PER_THREAD)
        self._taken = 0

    async def do(self, act: Callable[[], T]) -> T:
        """Do it on a thread.

        Raises:
          Refusal: there is no room.
        """
        if self._taken >= self._room:
            raise Refusal(
                "busy",
                "the gateway has too much to do, so nothing was sent",
                expected=f"{self._room} requests at the same time at most",
                received="one more",
                safe_to_retry=True,
                headers={"Retry-After": "1"},
            )
        self._taken += 1
        metrics.in_hand.set(self._taken)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, act)
        finally:
            self._taken -= 1
            metrics.in_hand.set(self._taken)

    def close(self) -> None:
        """End the threads when they have ended what they do."""
        self._pool.shutdown()
