"""Reads a feed over HTTP, as a stream, from any offset on."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Self

import httpx

from actors.content.errors import (
    FeedBusy,
    FeedChanged,
    FeedCut,
    FeedEmpty,
    FeedEncodingWrong,
    FeedForbidden,
    FeedMissing,
    FeedRefused,
    FeedUnreachable,
)
from actors.content.sources import Source, refuse_changed

TIMEOUT = httpx.Timeout(30, connect=5)
MOST_REDIRECTS = 5
LONGEST_DELAY = timedelta(days=1)

_TOTAL = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_FORBIDDEN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_MISSING = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class HttpSource(Source):
    """A feed behind an http(s) URL.

    One answer is one state of the feed, so it can't change while it is read; but a later attempt may meet another one.
    To go on in the middle it asks for the rest (Range), and where the server always sends everything, it reads the
    beginning again and drops it.
    """

    def __init__(self, url: str, offset: int, identity: str) -> None:
        self._url = url
        self._skip = 0
        with ExitStack() as stack:
            client = stack.enter_context(
                httpx.Client(timeout=TIMEOUT, follow_redirects=True, max_redirects=MOST_REDIRECTS)
            )
            self._answer = stack.enter_context(_Answer(client, url, _headers(offset, identity)))
            self._open(offset, identity)
            self._stack = stack.pop_all()

    def _open(self, offset: int, identity: str) -> None:
        response = self._answer.response
        _refuse_status(self._url, response)
        coding = response.headers.get("Content-Encoding", "identity").lower()
        if coding != "identity":
            raise FeedEncodingWrong(f"feed {self._url} is compressed", expected="an uncompressed body", received=coding)
        partial = response.status_code == HTTPStatus.PARTIAL_CONTENT
        self.identity = _identity(response)
        refuse_changed(self._url, identity, self.identity)
        if partial and _range_start(response) != offset - 1:
            raise FeedUnreachable(
                f"feed {self._url} could not be read on",
                expected=f"the bytes from {offset - 1} on",
                received=response.headers.get("Content-Range", "no Content-Range"),
            )
        self._skip = 1 if partial else offset
        self.seekable = partial or response.headers.get("Accept-Ranges", "").lower() == "bytes"
        self.whole = "Content-Length" in response.headers or "chunked" in response.headers.get("Transfer-Encoding", "")

    def chunks(self) -> Iterator[bytes]:
        """Yield the rest of the body."""
        skip = self._skip
        try:
            for chunk in self._answer.response.iter_raw():
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                yield chunk[skip:]
                skip = 0
        except httpx.RemoteProtocolError as error:
            raise FeedCut(
                f"feed {self._url} was cut off", expected="the whole body that was announced", received=str(error)
            ) from error
        except httpx.TransportError as error:
            raise _unreachable(self._url, error) from error
        if skip:
            raise FeedChanged(
                f"feed {self._url} changed while it was read", expected="at least as many bytes", received="fewer"
            )

    def verify(self) -> None:
        """Nothing can have changed: one answer is one state of the feed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class _Answer:
    """A streamed response, with httpx's errors turned into ours."""

    response: httpx.Response

    def __init__(self, client: httpx.Client, url: str, headers: dict[str, str]) -> None:
        self._url = url
        try:
            self.response = client.send(client.build_request("GET", url, headers=headers), stream=True)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise FeedForbidden(
                f"feed {url} can't be fetched", expected="an http(s) URL", received=str(error)
            ) from error
        except httpx.TooManyRedirects as error:
            raise FeedRefused(
                f"feed {url} can't be fetched", expected=f"at most {MOST_REDIRECTS} redirects", received=str(error)
            ) from error
        except httpx.TransportError as error:
            raise _unreachable(url, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()


def _headers(offset: int, identity: str) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity", "Accept": "application/x-ndjson, application/json, */*;q=0.5"}
    if offset:
        # From the byte before: a range that begins at the very end of the feed would be refused.
        headers["Range"] = f"bytes={offset - 1}-"
        etag = re.search(r'etag ("[^"]*")', identity)
        modified = re.search(r"modified ([^;]+)", identity)
        condition = etag or modified
        if condition:
            headers["If-Range"] = condition[1]
    return headers


def _identity(response: httpx.Response) -> str:
    """Say what the whole feed is, the same for an answer with all of it and for one with the rest of it."""
    total = _TOTAL.fullmatch(response.headers.get("Content-Range", ""))
    length = total[2] if total else response.headers.get("Content-Length", "")
    parts = {"etag": response.headers.get("ETag"), "modified": response.headers.get("Last-Modified"), "length": length}
    return "; ".join(f"{name} {value}" for name, value in parts.items() if value and value != "*")


def _range_start(response: httpx.Response) -> int | None:
    found = _TOTAL.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _refuse_status(url: str, response: httpx.Response) -> None:
    code = response.status_code
    received = f"{code} {response.reason_phrase}"
    if code in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        return
    if code == HTTPStatus.NO_CONTENT:
        raise FeedEmpty(f"feed {url} is empty", expected="at least one record", received=received)
    if code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise FeedChanged(f"feed {url} changed while it was read", expected="at least as many bytes", received=received)
    if code in _FORBIDDEN:
        raise FeedForbidden(f"feed {url} may not be read", expected="200 OK", received=received)
    if code in _MISSING:
        raise FeedMissing(f"there is no feed at {url}", expected="200 OK", received=received)
    if code in _PASSING or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        delay = retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
        if delay is not None:
            raise FeedBusy(f"the server of feed {url} is busy", delay=delay, expected="200 OK", received=received)
        raise FeedUnreachable(f"feed {url} can't be fetched now", expected="200 OK", received=received)
    raise FeedRefused(f"feed {url} can't be fetched", expected="200 OK", received=received)


def retry_after(value: str, now: datetime) -> timedelta | None:
    """Return how long a server asks to wait, from one second to one day; None when it doesn't say."""
    try:
        delay = timedelta(seconds=int(value)) if value.strip().isdigit() else parsedate_to_datetime(value) - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(delay, timedelta(seconds=1)), LONGEST_DELAY)


def _unreachable(url: str, error: Exception) -> FeedUnreachable:
    return FeedUnreachable(
        f"feed {url} can't be reached", expected="an answer in time", received=f"{type(error).__name__}: {error}"
    )
