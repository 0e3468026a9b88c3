"""The exposition serves /metrics and /health of a `dramatiq` command's workers, and of a scheduler."""

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

_BEAT_SECONDS: Final = 1.0
_SILENT_AFTER_SECONDS: Final = 10.0
_EXIT_PORT_TAKEN: Final = 64
_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"


def default_directory(parent: int) -> Path:
    """The folder that the processes of one `dramatiq` command share; `parent` is that command's pid."""
    return Path(tempfile.gettempdir()) / f"dutiful-metrics-{os.getuid()}-{parent}"


def share(directory: Path) -> None:
    """Make this process's metrics readable by the fork that serves them. Before prometheus_client is imported."""
    directory.mkdir(parents=True, exist_ok=True)
    os.environ[_SHARED] = str(directory)


def is_shared() -> bool:
    """Whether this process shares its metrics."""
    return _SHARED in os.environ


class Beat(threading.Thread):
    """Says each second that this worker process lives, and what its threads do.

    Parameters:
      worker: Dramatiq's.
    """

    def __init__(self, worker: Any) -> None:
        super().__init__(name="dutiful-beat", daemon=True)
        self.worker = worker
        self.path = Path(os.environ[_SHARED]) / f"beat-{os.getpid()}.json"
        self._stopping = threading.Event()

    def run(self) -> None:
        """Beat until stopped."""
        while not self._stopping.wait(_BEAT_SECONDS):
            threads = self.worker.workers
            state = {
                "threads": len(threads),
                "dead_threads": sum(not thread.is_alive() for thread in threads),
                "disconnected": sorted(
                    name
                    for name, thread in self.worker.consumers.items()
                    if thread.consumer is None or thread.consumer.is_gone
                ),
            }
            unfinished = self.path.with_suffix(".new")
            unfinished.write_text(json.dumps(state))
            unfinished.replace(self.path)

    def stop(self) -> None:
        """Leave in order."""
        self._stopping.set()
        self.join()
        self.path.unlink(missing_ok=True)


def worker_problems(directory: Path) -> list[str]:
    """Why the workers of this command can't be relied on; empty when they can."""
    beats = sorted(directory.glob("beat-*.json"))
    problems = [] if beats else ["no worker process is beating"]
    for path in beats:
        pid = path.stem.removeprefix("beat-")
        try:
            silent = time.time() - path.stat().st_mtime
            state = json.loads(path.read_text())
        except FileNotFoundError:
            continue  # it has just left in order
        if silent > _SILENT_AFTER_SECONDS:
            problems.append(f"worker {pid} has been silent for {silent:.0f} s")
        if state["dead_threads"]:
            problems.append(f"worker {pid} has lost {state['dead_threads']} of {state['threads']} threads")
        if state["disconnected"]:
            problems.append(f"worker {pid} isn't connected for {', '.join(state['disconnected'])}")
    return problems


def serve_workers() -> int:
    """What Dramatiq runs as a fork beside its workers.

    Returns:
      the exit status; Dramatiq starts it, and ends it with SIGTERM.
    """
    from workers.settings import settings  # noqa: PLC0415  a fork of its own reads them itself

    chosen = settings().metrics
    directory = chosen.directory or default_directory(os.getppid())
    share(directory)
    try:
        server(chosen.host, chosen.port if chosen.port is not None else 9191, lambda: worker_problems(directory))
        signal.pause()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def server(host: str, port: int, problems: Callable[[], list[str]]) -> ThreadingHTTPServer:
    """Serve /metrics, /health and /health/live in a thread of its own.

    Parameters:
      problems: why this isn't ready; asked at each /health.

    Raises:
      SystemExit: the port is taken; it says which setting names it.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            if self.path == "/metrics":
                self._answer(200, _metrics(), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path == "/health/live":
                self._answer(200, b'{"ok": true}', "application/json")
            elif self.path == "/health":
                found = problems()
                body = json.dumps({"ok": not found} | ({"reasons": found} if found else {}))
                self._answer(503 if found else 200, body.encode(), "application/json")
            else:
                self._answer(404, b"try /metrics, /health or /health/live\n", "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write no access log: Prometheus asks every few seconds."""

    try:
        made = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise SystemExit(_taken(host, port, error)) from None
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, name="dutiful-exposition", daemon=True).start()
    return made


def _taken(host: str, port: int, error: OSError) -> int:
    import logging  # noqa: PLC0415  the one line that this module may have to write

    logging.getLogger(__name__).critical(
        "metrics can't be served on %s:%d (%s); set DUTIFUL_METRICS__PORT to a free port", host, port, error.strerror
    )
    return _EXIT_PORT_TAKEN


def _metrics() -> bytes:
    from prometheus_client import REGISTRY, CollectorRegistry, generate_latest  # noqa: PLC0415  after share()
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

    if not is_shared():
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
