"""The demo's figures: sums over restarts, and quantiles as PromQL gives them."""

import http.server
import math
import threading

import pytest

from deploy.demo.figures import Figures

BROKEN_OFF = "# and it is killed"  # before it has sent all that it has promised


@pytest.fixture
def metrics():
    """Serve whatever text the test puts into the list; None closes the connection."""

    texts = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = texts[-1]
            if text is None:
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(text) + (BROKEN_OFF in text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/metrics", texts
    server.shutdown()
    thread.join()
    server.server_close()


def finished(outcome, value):
    name = "dutiful_jobs_finished_total"
    return f'# TYPE dutiful_jobs_finished_total counter\n{name}{{actor="a",outcome="{outcome}"}} {value}\n'


def test_a_counter_that_starts_again_goes_on_where_it_was(metrics):
    url, texts = metrics
    figures = Figures(url)
    for value in (3, 7, 2, 4):
        texts.append(finished("succeeded", value))
        assert figures.read()
    assert figures.count("dutiful_jobs_finished_total") == 7 + 4
    assert figures.count("dutiful_jobs_finished_total", outcome="duplicate") == 0


def test_a_worker_that_does_not_answer_changes_nothing(metrics):
    url, texts = metrics
    figures = Figures(url)
    texts.append(finished("succeeded", 3))
    figures.read()
    for answer in (None, BROKEN_OFF):
        texts.append(answer)
        assert not figures.read()
    texts.append(finished("succeeded", 5))
    figures.read()
    assert figures.count("dutiful_jobs_finished_total") == 5


def histogram(*counts):
    bounds = ("0.1", "0.5", "+Inf")
    lines = [f'wait_seconds_bucket{{le="{bound}"}} {count}' for bound, count in zip(bounds, counts, strict=True)]
    return "\n".join(
        ["# TYPE wait_seconds histogram", *lines, f"wait_seconds_count {counts[-1]}", "wait_seconds_sum 1", ""]
    )


def test_a_quantile_lies_inside_its_bucket(metrics):
    url, texts = metrics
    texts.append(histogram(50, 90, 100))
    figures = Figures(url)
    figures.read()
    assert figures.quantile("wait_seconds", 0.5) == pytest.approx((0.1, 0, 0.1))
    assert figures.quantile("wait_seconds", 0.7) == pytest.approx((0.3, 0.1, 0.5))
    assert figures.quantile("wait_seconds", 0.99) == pytest.approx((0.5, 0.5, math.inf))


def test_a_quantile_of_nothing_is_no_number(metrics):
    url, texts = metrics
    texts.append(histogram(0, 0, 0))
    figures = Figures(url)
    figures.read()
    assert math.isnan(figures.quantile("wait_seconds", 0.5).value)
