"""A TCP proxy stands between a client and a server, and breaks the link in the ways that networks do."""

import asyncio
import contextlib
import socket
import struct
import threading


class Proxy:
    """Forwards 127.0.0.1:port to a server. Runs its own loop in a thread.

    dribble what passes from now on passes little by little
    freeze  nothing passes in either direction, and no side is told
    thaw    everything passes again, what was held up first
    cut     reset every connection
    refuse  cut, and let nobody in
    admit   let clients in again
    """

    def __init__(self, host, port):
        self.server = (host, port)
        self.writers = set()
        self.refusing = False
        self.pause = 0.0
        self.piece = 65536
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_):
        self.refuse()
        self.thaw()
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)
        self._loop.close()

    def dribble(self):
        self.pause, self.piece = 0.01, 1024

    def freeze(self):
        self._now(self._flowing.clear)

    def thaw(self):
        self._now(self._flowing.set)

    def cut(self):
        self._now(lambda: [_reset(writer) for writer in self.writers])

    def refuse(self):
        self.refusing = True
        self.cut()

    def admit(self):
        self.refusing = False

    def _now(self, act):
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (act(), done.set()))
        assert done.wait(10)

    async def _serve(self):
        self._flowing, self._ended, self._clients = asyncio.Event(), asyncio.Event(), set()
        self._flowing.set()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._ended.wait()
        server.close()
        await asyncio.gather(*self._clients)

    async def _client(self, reader, writer):
        task = asyncio.current_task()
        self._clients.add(task)
        ends = {writer}
        try:
            if self.refusing:
                return
            behind, onward = await asyncio.open_connection(*self.server)
            ends.add(onward)
            self.writers |= ends
            await asyncio.gather(self._pump(reader, onward), self._pump(behind, writer))
        except OSError:
            return  # the server is away, so the client shall find the same
        finally:
            for end in ends:
                _reset(end)
            self.writers -= ends
            self._clients.discard(task)

    async def _pump(self, source, target):
        with contextlib.suppress(OSError):
            while data := await source.read(self.piece):
                await asyncio.sleep(self.pause)
                await self._flowing.wait()
                target.write(data)
                await target.drain()
        await self._flowing.wait()
        if not target.is_closing():
            target.close()


def _reset(writer):
    """Close with a reset: linger for 0 s."""
    if not writer.is_closing():
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
