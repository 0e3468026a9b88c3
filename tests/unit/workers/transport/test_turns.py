"""The loop and its connection: what is written leaves at once, who visits writes, and each confirm is told."""

import socket
import threading
import time

import pytest
from hypothesis import given, strategies
from pika.adapters.select_connection import IOLoop
from pika.frame import Body, Heartbeat, Method
from pika.spec import Basic

from workers.transport.turns import Connection, Loop


class Sender:
    """Writes as pika's transports do."""

    def __init__(self, loop, sock):
        self.loop, self.sock, self.left = loop, sock, b""
        loop.add_handler(sock.fileno(), self.act, loop.READ)

    def send(self, data):
        self.left += data
        self.loop.update_handler(self.sock.fileno(), self.loop.READ | self.loop.WRITE)

    def act(self, fd, events):
        assert events & self.loop.WRITE
        try:
            while self.left:
                self.left = self.left[self.sock.send(self.left) :]
        except BlockingIOError:
            return
        self.loop.update_handler(fd, self.loop.READ)


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def ends():
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(5)
    with near, far:
        yield near, far


@pytest.fixture
def asked(monkeypatch):
    """What the poller was asked to watch for."""
    asked = []
    monkeypatch.setattr(IOLoop, "update_handler", lambda _self, _fd, events: asked.append(events))
    return asked


def test_what_fits_into_the_socket_leaves_at_once_and_the_poller_is_not_asked(loop, ends, asked):
    near, far = ends
    sender = Sender(loop, near)

    sender.send(b"one")
    sender.send(b"two")

    assert far.recv(100) == b"onetwo"
    assert asked == []


def test_what_does_not_fit_leaves_when_the_other_end_has_read(loop, ends):
    near, far = ends
    sender = Sender(loop, near)
    data = bytes(range(256)) * 20_000

    sender.send(data)
    assert sender.left, "all of it fitted into the socket, so nothing is shown"
    received = b""
    loop.call_later(5, loop.stop)

    def read():
        nonlocal received
        received += far.recv(1_000_000)
        loop.stop() if len(received) == len(data) else loop.add_callback(read)

    loop.add_callback(read)
    loop.start()

    assert received == data
    assert not sender.left


def test_a_socket_that_is_closed_while_it_is_written_to_is_forgotten(loop, ends, asked):
    near, _ = ends
    loop.add_handler(near.fileno(), lambda fd, _events: loop.remove_handler(fd), loop.READ)

    loop.update_handler(near.fileno(), loop.READ | loop.WRITE)

    assert asked == []


def test_the_end_of_a_turn_comes_though_an_error_has_broken_it_off(loop):
    done = []

    def break_off():
        loop.at_end(lambda: (done.append("end"), loop.stop()))
        raise RuntimeError("broken")

    loop.add_callback(break_off)
    with pytest.raises(RuntimeError):
        loop.start()
    loop.call_later(5, loop.stop)
    loop.start()

    assert done == ["end"]


@pytest.fixture
def waiting(loop):
    """A loop whose own thread waits for the poller, and the errors that ended it."""
    errors = []

    def run():
        try:
            loop.start()
        except OSError as error:
            errors.append(error)

    begun = threading.Event()
    loop.add_callback_threadsafe(begun.set)
    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(5)
    yield errors
    loop.add_callback_threadsafe(loop.stop)
    thread.join(5)
    assert not thread.is_alive()


def until(happened):
    deadline = time.monotonic() + 5
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


def test_another_thread_has_a_turn_while_the_loop_waits(loop, waiting):
    threads, ends = [], []

    def act():
        threads.append(threading.current_thread())
        loop.at_end(lambda: ends.append(threading.current_thread()))

    until(lambda: loop.visit(act))

    assert threads == ends == [threading.current_thread()]


def test_nobody_visits_a_loop_that_has_something_to_do(loop, waiting):
    begun, go_on = threading.Event(), threading.Event()

    def act():
        begun.set()
        go_on.wait(5)

    loop.add_callback_threadsafe(act)
    assert begun.wait(5)

    assert not loop.visit(pytest.fail)
    go_on.set()


def test_a_loop_that_wakes_up_waits_until_its_visitor_has_gone(loop, waiting):
    order = []
    woken = threading.Event()

    def act():
        loop.add_callback_threadsafe(lambda: order.append("the loop"))
        loop.add_callback_threadsafe(woken.set)
        time.sleep(0.05)  # time to come between, for who does not wait
        order.append("the visitor")

    until(lambda: loop.visit(act))

    assert woken.wait(5)
    assert order == ["the visitor", "the loop"]


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_visit_that_ends_half_way_is_an_error_of_the_loop_s_thread(loop, waiting, kind):
    begun = []

    def act():
        begun.append(True)
        raise kind

    def visited():
        try:
            loop.visit(act)
        except KeyboardInterrupt:
            assert kind is KeyboardInterrupt
        return begun

    until(visited)

    assert not loop.visit(pytest.fail), "nothing is built upon what it has left behind"
    loop.add_callback_threadsafe(lambda: None)
    until(lambda: waiting)


class Reading(Connection):
    """A connection that is given what has come, and keeps what is left to pika."""

    def __init__(self, channel):
        self.confirms, self.others = [], []
        self.channel_number = channel
        self._frame_buffer, self.bytes_received, self.frames_received = b"", 0, 0
        self.confirm(self, lambda *confirm: self.confirms.append(confirm), lambda: None)

    def confirm_delivery(self, told, **_):
        self.tell = told

    def _process_frame(self, frame):
        acks = isinstance(frame, Method) and isinstance(frame.method, Basic.Ack | Basic.Nack)
        self.tell(frame) if acks and frame.channel_number == self.channel_number else self.others.append(frame)


tags = strategies.integers(1, 2**64 - 1)
confirms = strategies.builds(Basic.Ack, tags, strategies.booleans()) | strategies.builds(
    Basic.Nack, tags, strategies.booleans()
)
frames = strategies.one_of(
    strategies.builds(Method, strategies.integers(1, 3), confirms),
    strategies.builds(Body, strategies.integers(1, 3), strategies.binary(min_size=1, max_size=40)),
    strategies.just(Heartbeat()),
)


@given(strategies.lists(frames), strategies.lists(strategies.integers(1, 60)))
def test_every_confirm_is_told_in_its_order_however_what_comes_is_cut(frames, cuts):
    connection, data = Reading(2), b"".join(frame.marshal() for frame in frames)
    for cut in cuts:
        connection._on_data_available(data[:cut]) if data[:cut] else None
        data = data[cut:]
    connection._on_data_available(data) if data else None

    ours = [frame for frame in frames if isinstance(frame, Method) and frame.channel_number == 2]
    assert connection.confirms == [
        (frame.method.delivery_tag, frame.method.multiple, isinstance(frame.method, Basic.Ack)) for frame in ours
    ]
    assert [frame.marshal() for frame in connection.others] == [
        frame.marshal() for frame in frames if frame not in ours
    ]
    assert connection.bytes_received == sum(len(frame.marshal()) for frame in frames), "the heartbeat looks at it"
