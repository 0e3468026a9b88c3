"""Sentry hears once of each job that is dead, and nothing that it should not."""

import gzip
import json
import threading
import uuid
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sentry_sdk

from workers import PermanentFailure, actor
from workers.broker import setup_broker
from workers.middleware.error_reports import ErrorReports

CARD = {"owner": "reporters", "expects": "nothing", "rollback": "none"}
SECRET = str(uuid.uuid4())  # not to be found in the source, whose lines are in a report
setup_broker()


@actor(**CARD, actor_name="reported_late", max_retries=2, min_backoff=timedelta(seconds=1))
def reported_late(card_number: str) -> None:
    raise ConnectionError(f"refused, password={SECRET}")


@actor(
    **CARD, actor_name="reported_each_time", max_retries=1, min_backoff=timedelta(seconds=1), report_each_attempt=True
)
def reported_each_time() -> None:
    raise ConnectionError("refused")


@actor(**CARD, actor_name="reported_at_once")
def reported_at_once(card_number: str) -> None:
    raise PermanentFailure("never", expected="a user", received="nobody")


@pytest.fixture
def sentry():
    """A server that takes what sentry-sdk sends: each event, and all that came, as text."""
    events, raw = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            text = (gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body).decode()
            raw.append(text)
            events.extend(json.loads(line) for line in text.splitlines() if '"event_id"' in line and '"level"' in line)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://key@127.0.0.1:{server.server_address[1]}/1", events, raw
    server.shutdown()
    server.server_close()
    sentry_sdk.init(default_integrations=False)  # once patched in, they would stay for the tests that follow


@pytest.fixture
def reports(jobs, sentry, monkeypatch):
    """The broker's own middleware, with an address to send to."""
    (middleware,) = [each for each in jobs.broker.middleware if isinstance(each, ErrorReports)]
    monkeypatch.setattr(middleware, "dsn", sentry[0])
    monkeypatch.setattr(middleware, "release", "dutiful@1.0+abc")
    middleware.after_process_boot(jobs.broker)
    return middleware


@pytest.mark.usefixtures("reports")
def test_a_job_that_is_tried_three_times_is_one_report_that_groups_with_its_like(jobs, sentry):
    reported_late.send(card_number="4111-1111")
    for _ in range(3):
        jobs.run()
        jobs.clock.advance(timedelta(minutes=5))
    reported_at_once.send(card_number="4111-1111")
    jobs.run()
    sentry_sdk.flush(5)

    late, at_once = sentry[1]
    assert late["tags"] == {
        "actor": "reported_late",
        "queue": "default",
        "reason": "retries_exhausted",
        "owner": "reporters",
        "fingerprint": jobs.dead_letters[0]["dutiful-fingerprint"],
    }
    assert late["fingerprint"] == [late["tags"]["fingerprint"]]
    assert (late["release"], late["environment"]) == ("dutiful@1.0+abc", "development")
    assert late["contexts"]["job"]["attempt"] == 3
    assert at_once["tags"]["reason"] == "permanent"


@pytest.mark.usefixtures("reports")
def test_no_argument_no_local_variable_and_no_secret_leaves_the_process(jobs, sentry):
    reported_at_once.send(card_number="4111-1111")
    reported_late.send(card_number="4111-1111")
    for _ in range(3):
        jobs.run()
        jobs.clock.advance(timedelta(minutes=5))
    sentry_sdk.flush(5)

    assert len(sentry[1]) == 2
    assert not [text for text in sentry[2] if "4111" in text or SECRET in text or '"vars"' in text]


def test_without_an_address_nothing_is_sent_and_nothing_loaded(jobs, sentry):
    reported_at_once.send(card_number="4111-1111")
    jobs.run()
    sentry_sdk.flush(1)

    assert jobs.dead_letters
    assert sentry[2] == []


@pytest.mark.usefixtures("reports")
def test_an_actor_may_ask_for_a_report_of_each_attempt_that_failed(jobs, sentry):
    reported_each_time.send()
    for _ in range(2):
        jobs.run()
        jobs.clock.advance(timedelta(minutes=5))
    sentry_sdk.flush(5)

    tags = [event["tags"] for event in sentry[1]]
    assert [each["reason"] for each in tags] == ["retried", "retries_exhausted"]
    assert [event["contexts"]["job"]["attempt"] for event in sentry[1]] == [1, 2]
