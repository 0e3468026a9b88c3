"""A sender has what both publishers have: the settings of the connection, and the making of jobs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .jobs import MAX_MESSAGE_BYTES, Job, Workshop
from .known import KnownContracts
from .posting import Posting


class Sender:
    """Makes jobs, and has a connection to send them over.

    Parameters:
      those of Publisher.

    Raises:
      ConfigurationError: the address can't be read.
    """

    def __init__(
        self,
        url: str,
        *,
        app: str,
        contracts: KnownContracts | None = None,
        publish_timeout_seconds: float = 10,
        connect_timeout_seconds: int = 5,
        heartbeat_seconds: int = 10,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        ca_path: Path | None = None,
    ) -> None:
        self._workshop = Workshop(contracts, max_message_bytes)
        self._timeout_seconds = publish_timeout_seconds
        self._posting = Posting(
            url,
            app,
            heartbeat_seconds=heartbeat_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            ca_path=ca_path,
        )

    def job(self, actor: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """A job to be sent later. Sending the same one twice is one job, unless its actor has `key=None`.

        Parameters:
          actor: its name.
          arguments: by name; what pydantic can write as JSON.
          options: `queue` (needed without contracts), `key`, `delay` or `at`, `expires_in`, `message_id`,
            `traceparent`.

        Raises:
          ContractError: it is not what the actor takes, or can't be carried.
        """
        return self._workshop.make(actor, arguments, **options)
