"""RabbitMQ's management API tells what AMQP can't, such as what is not settled and which policies, and makes users."""

import base64
import json
from datetime import datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from ssl import SSLContext
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from workers.errors import DutifulError
from workers.tls import complaint

# Lines for a shell, for those who say that it is missing.
SET: Final = "export DUTIFUL_RABBITMQ__MANAGEMENT_URL=http://HOST:15672"
CORRECT: Final = (
    "# correct DUTIFUL_RABBITMQ__MANAGEMENT_URL, or DUTIFUL_RABBITMQ__CA_PATH; or, to let its user look: "
    "rabbitmqctl set_user_tags USER monitoring"
)
_SECONDS: Final = 10
_FAILURES: Final = (OSError, HTTPException, ValueError)  # no answer; one that breaks off; one that is no JSON
_IMPORT_SECONDS: Final = 60  # RabbitMQ makes users and rights one after the other


class ManagementUnavailable(DutifulError):
    """The management API did not answer as it should."""

    safe_to_retry = True


class Management:
    """Reads about one vhost, and takes definitions.

    Parameters:
      url: http or https; may have user and password in it.
      vhost: the vhost.
      user, password: used when the URL has none.
      context: for https, whom to trust.
    """

    def __init__(self, url: str, *, vhost: str, user: str, password: str, context: SSLContext | None = None) -> None:
        self._context = context
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self.address = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "") + parts.path.rstrip("/")
        name = unquote(parts.username) if parts.username else user
        word = unquote(parts.password or "") if parts.username else password
        self._authorization = "Basic " + base64.b64encode(f"{name}:{word}".encode()).decode()
        self._vhost = quote(vhost, safe="")

    def queues(self) -> dict[str, dict[str, Any]]:
        """What is known of each queue, by name. Numbers may be some seconds old."""
        return {each["name"]: each for each in self._read(f"queues/{self._vhost}")}

    def bindings(self) -> set[tuple[str, str, str, str]]:
        """Each binding: source, destination, what the destination is (queue or exchange), and routing key."""
        return {
            (each["source"], each["destination"], each["destination_type"], each["routing_key"])
            for each in self._read(f"bindings/{self._vhost}")
        }

    def nodes(self) -> list[dict[str, Any]]:
        """What is known of each node: its room, and whether it has raised an alarm."""
        return list(self._read("nodes"))

    def version(self) -> str:
        """RabbitMQ's version."""
        return str(self._read("overview").get("rabbitmq_version", ""))

    def time(self) -> datetime:
        """The time by the clock of RabbitMQ's host, to the second.

        Raises:
          ManagementUnavailable: it did not answer, or did not say the time.
        """
        with self._asked("vhosts") as answer:
            said = answer.headers.get("Date", "")
        try:
            return parsedate_to_datetime(said)
        except ValueError:
            raise self._unavailable("no date") from None

    def make(self, definitions: dict[str, Any]) -> None:
        """Make vhosts, users, permissions and policies as they are told; others stay as they are.

        Raises:
          ManagementUnavailable: it did not answer, or refused. Making them again is safe.
        """
        body = json.dumps(definitions).encode()
        try:
            self._ask("definitions", body, _IMPORT_SECONDS).close()
        except _FAILURES as error:
            raise ManagementUnavailable(
                "RabbitMQ's users were not made",
                expected="its address in DUTIFUL_RABBITMQ__MANAGEMENT_URL, with a user with the tag administrator",
                received=f"{_refusal(error)} from {self.address}",
            ) from None

    def _read(self, path: str) -> Any:
        with self._asked(path) as answer:
            try:
                return json.load(answer)
            except _FAILURES as error:
                raise self._unavailable(str(error)) from None

    def _asked(self, path: str) -> Any:
        try:
            return self._ask(path, None, _SECONDS)
        except _FAILURES as error:
            raise self._unavailable(_refusal(error)) from None

    def _ask(self, path: str, body: bytes | None, seconds: float) -> Any:
        headers = {"Authorization": self._authorization, "Content-Type": "application/json"}
        request = Request(f"{self.address}/api/{path}", data=body, headers=headers)  # noqa: S310  http and https only
        return urlopen(request, timeout=seconds, context=self._context)  # noqa: S310  as above

    def _unavailable(self, why: str) -> ManagementUnavailable:
        return ManagementUnavailable(
            "RabbitMQ's management API can't be read",
            expected="its address in DUTIFUL_RABBITMQ__MANAGEMENT_URL, and a user with the tag monitoring",
            received=f"{why} from {self.address}",
        )


def _refusal(error: Exception) -> str:
    """Why it was refused: a certificate, what RabbitMQ says, or what the network says."""
    said = ""
    if isinstance(error, HTTPError):
        try:
            said = str(json.load(error).get("reason", ""))
        except (OSError, ValueError, AttributeError):
            said = ""  # a page of something else
    return complaint(error) or (f"{error}: {said}" if said else str(error))
