"""A loop and a connection that write what one turn of the loop has produced in one piece, and at once.

pika gives each frame a system call of its own, and asks the poller each time whether it may write.
"""

import threading
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

import pika
from pika import frame, spec
from pika.adapters.select_connection import IOLoop

# More than this is written before the turn ends.
_PIECE_BYTES: Final = 262_144
# Of a frame with an ack: kind and channel, length, class and method; tag; one bit; the end.
_ACK_BYTES: Final = 21
_TAG_AT: Final = 11
_TAG: Final = Struct(">QB")


class Loop(IOLoop):  # type: ignore[misc]  # pika has no types
    """Tries to write as soon as there is something to be written; the poller is asked when the socket is full.

    One thread at a time has a turn. The loop's own gives it up while it waits for the poller; another may then have
    one, and spares what it sends the way to the loop's thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Lock()
        self._has_turn = False  # the loop's own thread
        self._broken: Exception | None = None  # what has ended a visitor's turn half way
        self._dispatch = self._poller._dispatch_fd_events  # noqa: SLF001  where the poller goes when it is woken up
        self._poller._dispatch_fd_events = self._awake  # noqa: SLF001
        self._handlers: dict[int, Any] = {}
        self._wanted: dict[int, int] = {}  # the events that pika wants to hear of
        self._watched: dict[int, int] = {}  # those that the poller was told of
        self._last: list[Callable[[], None]] = []

    def at_end(self, act: Callable[[], None]) -> None:
        """Do something when this turn ends. Only on the loop's thread."""
        self._last.append(act)

    def visit(self, act: Callable[[], None]) -> bool:
        """Do something in a turn of the calling thread, where the loop's own waits; whether it is done.

        A turn that ends half way, as by Ctrl-C, is an error of the loop's thread: who made the loop begins anew.
        """
        if self._turn.locked():
            return False
        with self._turn:
            if self._broken is not None:
                return False
            self._broken = InterruptedError("a thread was interrupted while it sent")
            try:
                act()
                self._end_turn()
            except Exception as error:  # noqa: BLE001  raised on the loop's thread
                self._broken = error
            else:
                self._broken = None
            return self._broken is None

    def start(self) -> None:
        """Run until it is stopped; first, end the turn that an error has broken off."""
        self._take_turn()
        self._end_turn()
        super().start()

    def process_timeouts(self) -> None:
        """Call what is due, and end the turn."""
        super().process_timeouts()
        self._end_turn()

    def add_handler(self, fd: int, handler: Any, events: int) -> None:
        """Begin to watch a socket."""
        self._handlers[fd] = handler
        self._wanted[fd] = self._watched[fd] = events
        super().add_handler(fd, handler, events)

    def update_handler(self, fd: int, events: int) -> None:
        """Watch a socket for other events than before."""
        is_new = events & self.WRITE and not self._wanted[fd] & self.WRITE
        self._wanted[fd] = events
        if is_new:
            self._handlers[fd](fd, self.WRITE)  # it ends here again, with fewer events, unless the socket is full
        wanted = self._wanted.get(fd)  # none: the socket was closed meanwhile
        if wanted is not None and wanted != self._watched[fd]:
            self._watched[fd] = wanted
            super().update_handler(fd, wanted)

    def remove_handler(self, fd: int) -> None:
        """Watch a socket no more."""
        for each in (self._handlers, self._wanted, self._watched):
            del each[fd]
        super().remove_handler(fd)

    def _get_remaining_interval(self) -> float | None:
        wait: float | None = super()._get_remaining_interval()  # the poller asks just before it waits
        if self._has_turn:
            self._has_turn = False
            self._turn.release()
        return wait

    def _awake(self, events: Any) -> None:
        self._take_turn()
        self._dispatch(events)

    def _take_turn(self) -> None:
        if not self._has_turn:
            self._turn.acquire()
            self._has_turn = True
        broken, self._broken = self._broken, None
        if broken is not None:
            raise broken

    def _end_turn(self) -> None:
        while self._last:
            self._last.pop()()


class Connection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """Gathers the frames of one turn, and reads confirms by itself."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._ack = b""
        self._told: Callable[[int, bool, bool], None] | None = None
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        super().__init__(*args, **options)

    def confirm(self, channel: Any, told: Callable[[int, bool, bool], None], ready: Callable[[], None]) -> None:
        """Let RabbitMQ confirm what a channel publishes.

        Parameters:
          told: of each confirm: its tag, whether it is for all before that as well, and whether it is an ack.
          ready: called when it has begun.
        """
        self._told = told
        self._ack = frame.Method(channel.channel_number, spec.Basic.Ack()).marshal()[:_TAG_AT]
        channel.confirm_delivery(
            lambda said: told(said.method.delivery_tag, said.method.multiple, isinstance(said.method, spec.Basic.Ack)),
            callback=lambda _: ready(),
        )

    def _on_data_available(self, data_in: bytes) -> None:
        """Read what has come; acks at its beginning without the objects and callbacks that pika makes of each."""
        start = 0
        if self._told is not None and not self._frame_buffer:
            while data_in.startswith(self._ack, start) and len(data_in) >= start + _ACK_BYTES:
                tag, bits = _TAG.unpack_from(data_in, start + _TAG_AT)
                start += _ACK_BYTES
                self._told(tag, bool(bits), True)
            self.bytes_received += start  # the heartbeat looks at it
        if start < len(data_in):
            super()._on_data_available(data_in[start:])

    def _adapter_emit_data(self, data: bytes) -> None:
        if not self._gathered:
            self.ioloop.at_end(self._write)
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes > _PIECE_BYTES:
            self._write()

    def _write(self) -> None:
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if gathered and not self.is_closed:
            super()._adapter_emit_data(b"".join(gathered))
