"""Feeds over HTTP: a real server that answers well, late, halfway, or not at all."""

import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest

from actors.content import http
from actors.content.checkpoints import begin, load
from actors.content.checkpoints import record as record_batch
from actors.content.errors import (
    FeedBusy,
    FeedChanged,
    FeedCut,
    FeedEmpty,
    FeedEncodingWrong,
    FeedForbidden,
    FeedMissing,
    FeedRefused,
    FeedTruncated,
    FeedUnreachable,
)
from actors.content.http import retry_after
from actors.content.reading import read_feed
from workers.errors import PermanentFailure, RetryLater

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


class Server(ThreadingHTTPServer):
    """A feed server.

    Attributes:
      body: what it sends.
      status, headers: what it says first; ETag and Content-Length are its own, if it may name them.
      ranges: whether it understands Range.
      cut: how many bytes it sends before it hangs up.
      requests: the Range and If-Range headers that it was asked with.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.status, self.headers = b"", 200, {}
        self.ranges, self.cut, self.length, self.etag = True, None, True, '"1"'
        self.requests = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/feeds/posts.ndjson"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        server.requests.append((wanted, condition))
        body, status = server.body, server.status
        if wanted and server.ranges and condition in {None, server.etag}:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status, body = (206, body[start:]) if start < len(body) else (416, b"")
        self.send_response(status)
        for name, value in server.headers.items():
            self.send_header(name, value)
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        self.end_headers()
        self.wfile.write(body[: server.cut])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def lines(record):
    return b"".join(json.dumps(record(number)).encode() + b"\n" for number in range(1, 11))


@pytest.fixture
def read(engine, site):
    """Reads a feed as one job; says whether it is finished. The numbers of the staged batches are in `read.sent`."""

    def run(url, *, job="job-1", stop_before=None):
        def stage(feed, batch):
            if len(run.sent) == stop_before:
                raise InterruptedError
            run.sent.append(batch.number)
            with engine.begin() as connection:
                return record_batch(connection, feed, batch)

        with engine.begin() as connection:
            feed = begin(connection, job, url, "feed")
        return read_feed(engine, load(engine, feed, url), stage, site)

    run.sent = []
    return run


def test_a_feed_is_read_as_a_stream(server, read, lines):
    server.body = lines
    assert read(server.url) is True
    assert read.sent == [0, 1, 2, 3]
    assert server.requests == [(None, None)]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("etag", ['"1"', None])
def test_reading_goes_on_in_the_middle_whether_the_server_can_or_not(server, read, lines, ranges, etag):
    server.body, server.ranges, server.etag = lines, ranges, etag
    with pytest.raises(InterruptedError):
        read(server.url, stop_before=2)
    assert read(server.url) is True
    assert read.sent == [0, 1, 2, 3]
    wanted, condition = server.requests[1]
    assert wanted.startswith("bytes=")
    assert condition == etag


@pytest.mark.parametrize("ranges", [True, False])
def test_reading_goes_on_behind_the_very_last_record(server, read, lines, ranges):
    server.body, server.ranges = lines, ranges
    read(server.url)
    assert read(server.url) is True
    assert read.sent == [0, 1, 2, 3]


@pytest.mark.parametrize("ranges", [True, False])
def test_another_feed_at_the_same_address_is_noticed(server, read, lines, ranges):
    server.body, server.ranges = lines, ranges
    with pytest.raises(InterruptedError):
        read(server.url, stop_before=2)
    server.body, server.etag = lines * 2, '"2"'
    with pytest.raises(FeedChanged):
        read(server.url)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_feed_that_has_become_shorter_is_noticed_without_any_validator(server, read, lines, ranges):
    server.body, server.ranges, server.etag, server.length = lines, ranges, None, False
    with pytest.raises(InterruptedError):
        read(server.url, stop_before=3)
    server.body = lines[:100]
    with pytest.raises(FeedChanged):
        read(server.url)


def test_a_body_that_is_cut_off_is_tried_again_and_goes_on(server, read, lines):
    server.body, server.cut = lines, len(lines) * 2 // 3
    with pytest.raises(FeedCut) as raised:
        read(server.url)
    assert not isinstance(raised.value, PermanentFailure | RetryLater)
    assert read.sent == [0, 1]
    server.cut = None
    assert read(server.url) is True
    assert read.sent[2:] == [2, 3]


def test_a_body_of_unknown_length_that_ends_in_a_record_may_have_been_cut(server, read, lines):
    server.body, server.length = lines[:-30], False
    with pytest.raises(FeedCut):
        read(server.url)


def test_a_whole_body_that_ends_in_a_record_is_a_truncated_feed(server, read, lines):
    server.body = lines[:-30]
    with pytest.raises(FeedTruncated):
        read(server.url)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (204, FeedEmpty),
        (304, FeedRefused),
        (400, FeedRefused),
        (401, FeedForbidden),
        (403, FeedForbidden),
        (404, FeedMissing),
        (410, FeedMissing),
        (408, FeedUnreachable),
        (429, FeedUnreachable),
        (500, FeedUnreachable),
        (502, FeedUnreachable),
        (503, FeedUnreachable),
    ],
)
def test_a_status_is_permanent_or_transient(server, read, status, error):
    server.status = status
    with pytest.raises(error, match=str(status)) as raised:
        read(server.url)
    assert isinstance(raised.value, PermanentFailure) is (error is not FeedUnreachable)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(server, read, status):
    server.status, server.headers = status, {"Retry-After": "120"}
    with pytest.raises(FeedBusy) as raised:
        read(server.url)
    assert raised.value.delay == timedelta(minutes=2)


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        ("5", 5),
        ("0", 1),
        (format_datetime(NOW + timedelta(minutes=3), usegmt=True), 180),
        (format_datetime(NOW - timedelta(minutes=3), usegmt=True), 1),
        ("99999999", 86_400),
        ("9" * 400, None),
        ("soon", None),
        ("", None),
        ("-3", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_a_day(value, delay):
    assert retry_after(value, NOW) == (None if delay is None else timedelta(seconds=delay))


def test_a_compressed_body_is_refused(server, read):
    server.body, server.headers = b"...", {"Content-Encoding": "br"}
    with pytest.raises(FeedEncodingWrong, match="br"):
        read(server.url)


@pytest.mark.parametrize(
    ("target", "error"),
    [("", FeedRefused), ("ftp://127.0.0.1/feed", FeedForbidden), ("file:///etc/passwd", FeedForbidden)],
)
def test_redirects_end_somewhere_and_never_leave_http(server, read, target, error):
    server.status, server.headers = 302, {"Location": target or server.url}
    with pytest.raises(error):
        read(server.url)
    assert len(server.requests) == (1 if target else http.MOST_REDIRECTS + 1)


def test_a_port_where_nobody_listens_is_tried_again(server, read):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(FeedUnreachable, match="ConnectError"):
        read(f"http://127.0.0.1:{port}/feed")


def test_a_server_that_never_answers_is_given_up(server, read, monkeypatch):
    monkeypatch.setattr(http, "TIMEOUT", httpx.Timeout(0.1))
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(FeedUnreachable, match="ReadTimeout"):
        read(f"http://127.0.0.1:{silent.getsockname()[1]}/feed")
