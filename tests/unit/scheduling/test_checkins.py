"""Sentry hears of each tick that begins and ends, from what the timetable says already."""

import gzip
import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import sentry_sdk

from scheduling.checkins import CheckIns, monitor
from scheduling.cron import Cron
from scheduling.every import Every
from scheduling.ticks import TickEngine

MINUTE = timedelta(minutes=1)


@pytest.fixture
def sentry():
    """A Sentry that keeps the check-ins it gets: (DSN, check-ins)."""
    heard = []

    class Ears(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            items = [json.loads(line) for line in body.splitlines() if line.startswith(b"{")]
            heard.extend(item for item in items if "monitor_slug" in item)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Ears)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://key@127.0.0.1:{server.server_port}/1", heard
    sentry_sdk.init(default_integrations=False)  # once patched in, they would stay for the tests that follow
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_tick_checks_in_when_it_is_published_and_when_its_job_has_ended(
    sentry, schedule, store, clock, broker, *, end_job
):
    dsn, heard = sentry
    engine = TickEngine(store, [schedule(Cron("* * * * *", "Europe/Berlin"))], clock, CheckIns(dsn, "development"))
    engine.run_once()
    for state in ("done", "dead"):
        clock.advance(MINUTE)
        engine.run_once()
        end_job(broker.keys[-1], state)
        engine.run_once()
    sentry_sdk.flush(5)
    assert [item["status"] for item in heard] == ["in_progress", "ok", "in_progress", "error"]
    assert {item["monitor_slug"] for item in heard} == {"sweep"}
    assert heard[0]["check_in_id"] == heard[1]["check_in_id"] != heard[2]["check_in_id"]
    assert heard[0]["monitor_config"]["schedule"] == {"type": "crontab", "value": "* * * * *"}
    assert heard[0]["monitor_config"]["timezone"] == "Europe/Berlin"


def test_a_monitor_says_what_the_line_says(schedule):
    assert monitor(schedule(Cron("@daily")))["schedule"]["value"] == "0 0 * * *"
    every = monitor(schedule(Every(300), max_open=timedelta(hours=2), jitter=timedelta(minutes=10)))
    assert every["schedule"] == {"type": "interval", "value": 5, "unit": "minute"}
    assert (every["max_runtime"], every["checkin_margin"]) == (120, 15)
    assert monitor(schedule(Every(90))) is None


def test_without_an_address_nobody_is_told(schedule, store, clock, broker):
    engine = TickEngine(store, [schedule(Cron("* * * * *"))], clock, CheckIns(None, "development"))
    engine.run_once()
    clock.advance(MINUTE)
    engine.run_once()
    assert len(broker.published) == 1
