"""The loop: what is written leaves at once, and what the socket can't take leaves later."""

import socket

import pytest
from pika.adapters.select_connection import IOLoop

from workers.transport.turns import Loop


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
