"""A connection to PostgreSQL gives up waiting for a server that has fallen silent.

The server's own limits end a statement that takes too long, and TCP notices a host that is gone. Neither helps when
the server is there and does nothing: stopped, swapped out, waiting for a disk that hangs.
"""

import os
import socket
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, cast

import psycopg

from workers.errors import ConfigurationError, StoreUnavailable
from workers.tls import client_context, complaint

SILENCE_SECONDS: Final = 5.0
_CHECKED: Final = "verify-full"
_SSL_REQUEST: Final = bytes.fromhex("0000000804d2162f")  # any server answers it with one byte, before anybody logs in


class CertificateRefused(psycopg.OperationalError):
    """The server showed a certificate that is none for it.

    Attributes:
      refusal: what is said of it, instead of the driver's words.
    """

    def __init__(self, refusal: StoreUnavailable) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def tls(mode: str | tuple[str, ...] | None, ca_path: Path | None) -> dict[str, str]:
    """What the driver is told, so that it checks signature, host name and dates.

    Parameters:
      mode: `sslmode` of the address.

    Raises:
      ConfigurationError: the address asks for less than that.
    """
    if ca_path is None:
        return {}
    if mode not in {None, _CHECKED}:
        raise ConfigurationError(
            "the store's address asks for less than DUTIFUL_STORE__CA_PATH",
            expected=f"no sslmode in DUTIFUL_STORE__URL, or {_CHECKED}",
            received=f"sslmode={mode}",
        )
    return {"sslmode": _CHECKED, "sslrootcert": str(ca_path)}


def distrusted(error: psycopg.OperationalError, how: Mapping[str, Any]) -> CertificateRefused | None:
    """The refusal in clear words; None where the error is about something else. libpq says as good as nothing."""
    said = str(error)
    if "certificate" not in said and "does not support SSL" not in said:
        return None
    host, port, root = (str(how.get(name, "")) for name in ("host", "port", "sslrootcert"))
    why = _complaint(host, int(port or "5432"), Path(root)) if root and (port or "5432").isdigit() else None
    return CertificateRefused(
        StoreUnavailable(
            "the store's certificate is refused",
            expected=f"one for the host {host}, signed by an authority in DUTIFUL_STORE__CA_PATH, and still good",
            received=why or " ".join(said.split()),
        )
    )


def _complaint(host: str, port: int, ca_path: Path) -> str | None:
    """What Python's TLS says of the certificate that a server shows."""
    try:
        with socket.create_connection((host, port), SILENCE_SECONDS) as link:
            link.sendall(_SSL_REQUEST)
            if link.recv(1) != b"S":
                return "no TLS there"
            with client_context(ca_path).wrap_socket(link, server_hostname=host):
                return None
    except OSError as error:
        return complaint(error)


class Door:
    """Where one process connects. While the server is silent one thread at a time tries, and the others fail at once.

    Else each thread would wait for itself, and jobs that need no store would wait behind them.
    """

    def __init__(self) -> None:
        self.is_silent = False
        self._trying = threading.Lock()

    def connect(self, where: Sequence[Any], how: Mapping[str, Any]) -> "Connection":
        """A new connection.

        Raises:
          OperationalError: there is none to be had, or another thread is asking a silent server already.
        """
        if not self.is_silent:
            return self._connect(where, how)
        if not self._trying.acquire(blocking=False):
            raise psycopg.OperationalError("the server has fallen silent; another thread is asking it")
        try:
            return self._connect(where, how)
        finally:
            self._trying.release()

    def _connect(self, where: Sequence[Any], how: Mapping[str, Any]) -> "Connection":
        try:
            connection = Connection.connect(*where, **how)
        except psycopg.errors.ConnectionTimeout:
            self.is_silent = True
            raise
        except psycopg.OperationalError as error:
            raise distrusted(error, how) or error from None
        self.is_silent = False
        return connection.through(self)


class Connection(psycopg.Connection[Any]):
    """One that looks, after each five seconds without a word, whether the server still answers others."""

    _door: Door | None = None

    def through(self, door: Door) -> Self:
        """Tell the door when the server falls silent."""
        self._door = door
        return self

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """Wait for the end of an exchange with the server; how long a statement may take is not decided here.

        Raises:
          OperationalError: the server answers nobody. The connection is closed: nobody knows what it has done.
        """
        return super().wait(cast("Any", self._while_it_answers(gen)), *arguments, **options)

    def _while_it_answers(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        try:
            wanted, silent_since = next(gen), 0.0
            while True:
                ready = yield wanted
                if ready:
                    silent_since = 0.0
                elif not silent_since:
                    silent_since = time.monotonic()
                elif time.monotonic() - silent_since > SILENCE_SECONDS:
                    self._refuse_silence()
                    silent_since = 0.0
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _refuse_silence(self) -> None:
        if _answers(self.pgconn.socket):
            return
        if self._door is not None:
            self._door.is_silent = True
        self.pgconn.finish()
        raise psycopg.OperationalError("the server has fallen silent")


def _answers(connected: int) -> bool:
    """Whether the server at the other end of a socket takes another connection."""
    with socket.socket(fileno=os.dup(connected)) as there:
        family, address = there.family, there.getpeername()
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(SILENCE_SECONDS)
            probe.connect(address)
            probe.sendall(_SSL_REQUEST)
            probe.recv(1)  # to hang up is an answer as well: it may have enough connections
            return True
    except OSError:
        return False
