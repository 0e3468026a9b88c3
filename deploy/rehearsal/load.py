"""Publishes jobs at a steady rate, as a service does that knows nothing of deployments."""

import threading
import time
from typing import Self

from deploy.demo.service import Service

JOIN_SECONDS = 60.0
LINGERING = 1_000_000
"""Jobs that linger have numbers from here on."""


class Load:
    """A thread that publishes jobs, each confirmed, until the block is left.

    Attributes:
      published: how many jobs were confirmed; their numbers are 0 and up.
      noted: numbers of those in the form that only the next release understands.
      lingering: how many jobs that linger were published; their numbers are LINGERING and up.
      rate: jobs a second that it was to publish.
      failure: why publishing ended before it was asked to; a deployment must not be a reason.

    Parameters:
      url: of RabbitMQ.
    """

    def __init__(self, url: str, rate: float) -> None:
        self.published = self.lingering = 0
        self.noted: set[int] = set()
        self.failure = ""
        self.seconds = 0.0
        self.speaks_next = False  # whether publishers use the next release's form
        self._url, self.rate = url, rate
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(JOIN_SECONDS)

    def linger(self, seconds: float) -> None:
        """Publish one job that runs so long."""
        service = Service(self._url)
        number = LINGERING + self.lingering
        service.ask("rehearsal.linger", "rehearsal-long", {"n": number, "sent": time.time(), "seconds": seconds})
        service.close()
        self.lingering += 1

    def _run(self) -> None:
        try:
            service = Service(self._url)
            began = time.monotonic()
            while not self._over.wait(max(0.0, began + self.published / self.rate - time.monotonic())):
                self._publish(service)
                self.seconds = time.monotonic() - began
            service.close()
        except Exception as error:  # noqa: BLE001  whatever it is, the rehearsal has to say it
            self.failure = f"{type(error).__name__}: {error}"

    def _publish(self, service: Service) -> None:
        number, speaks_next = self.published, self.speaks_next
        arguments: dict[str, object] = {"n": number, "sent": time.time()}
        if speaks_next:
            self.noted.add(number)
            arguments["note"] = "new"
        service.ask("rehearsal.enter", "rehearsal", arguments)
        self.published += 1
