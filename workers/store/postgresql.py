"""A connection to PostgreSQL gives up waiting for a server that has fallen silent.

The server's own limits end a statement that takes too long, and TCP notices a host that is gone. Neither helps when
the server is there and does nothing: stopped, swapped out, waiting for a disk that hangs.
"""

import os
import socket
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final, Self, cast

import psycopg

SILENCE_SECONDS: Final = 5.0
_SSL_REQUEST: Final = bytes.fromhex("0000000804d2162f")  # any server answers it with one byte, before anybody logs in


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
