"""A feed of any size takes the same memory. `PROOF=1` reads five gigabytes instead of fifty megabytes."""

import json
import os
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from actors.content.checkpoints import Counts, begin, count_batch, load
from actors.content.checkpoints import record as record_batch
from actors.content.reading import read_feed

SIZE = 5_000_000_000 if os.environ.get("PROOF") else 50_000_000
MOST_MEMORY = 12_000_000


class Endless(BaseHTTPRequestHandler):
    """Makes the feed up while it sends it, from any offset on."""

    def do_GET(self):
        line, count = self.server.line, self.server.count
        wanted = self.headers.get("Range", "bytes=0-")
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(line) * count - start))
        self.send_header("Content-Range", f"bytes {start}-{len(line) * count - 1}/{len(line) * count}")
        self.end_headers()
        first, cut = divmod(start, len(line))
        try:
            self.wfile.write(line[cut:])
            for _ in range(first + 1, count):
                self.wfile.write(line)
        except ConnectionError:
            pass  # the reader handed on to the next job, which asks for the rest
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def endless(record, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    server.line = json.dumps(record(body="All work and no play. " * 180)).encode() + b"\n"
    server.count = SIZE // len(server.line)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.timeout(3600 if os.environ.get("PROOF") else 120)
def test_a_feed_of_any_size_takes_the_same_memory(endless, engine, site):
    wide = site.model_copy(update={"batch_records": 1000, "reading_seconds": 2})
    source = f"http://127.0.0.1:{endless.server_port}/feed"

    with engine.begin() as connection:
        feed = begin(connection, "job", source, "endless")

    def import_at_once(feed, batch):
        with engine.begin() as connection:
            waiting = record_batch(connection, feed, batch)
            count_batch(connection, feed, batch.number, Counts())
        return waiting - 1

    turns = 1
    tracemalloc.start()
    while not read_feed(engine, load(engine, feed, source), import_at_once, wide):
        turns += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_MEMORY
    assert load(engine, feed, source).position.line == endless.count
    assert turns < SIZE / 1_000_000, "each turn reads more than a megabyte"
