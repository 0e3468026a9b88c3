"""The exposition serves /metrics and /health of a `dramatiq` command's workers, and of a scheduler."""

import errno
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from workers import health
from workers.merging import Merging
from workers.store import processes

_BEAT_SECONDS: Final = 1.0
_SILENT_AFTER_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.2
_PORT_PATIENCE_SECONDS: Final = 5.0
_EXIT_PORT_TAKEN: Final = 68
_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"


def default_directory(parent: int) -> Path:
    """The folder that the processes of one `dramatiq` command share; `parent` is that command's pid.

    The start time is part of its name: a pid is used again, and its new owner must not find old counters.
    """
    return Path(tempfile.gettempdir()) / f"{_prefix()}{parent}-{processes.started(parent).replace(' ', '_')}"


def _prefix() -> str:
    return f"dutiful-metrics-{os.getuid()}-"


def clear_left_behind() -> None:
    """Remove the folders of commands that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_prefix()}*-*"):
        pid, _, started = folder.name.removeprefix(_prefix()).partition("-")
        if pid.isdigit() and not processes.is_running(int(pid), started.replace("_", " ")) and not _beating(folder):
            shutil.rmtree(folder, ignore_errors=True)


def share(directory: Path) -> None:
    """Make this process's metrics readable by the fork that serves them. Before prometheus_client is imported.

    Raises:
      OSError: nothing can be written there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))
    os.environ[_SHARED] = str(directory)
    from prometheus_client import values  # noqa: PLC0415  it looks at the environment

    # It asks for the pid at each count, which would cost a system call a dozen times a job.
    pid = [os.getpid()]
    os.register_at_fork(after_in_child=lambda: pid.__setitem__(0, os.getpid()))
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: pid[0])  # type: ignore[no-untyped-call]


def is_shared() -> bool:
    """Whether this process shares its metrics."""
    return _SHARED in os.environ


def shared() -> Path:
    """The folder that the processes of this command share."""
    return Path(os.environ[_SHARED])


class Beat(threading.Thread):
    """Says each second that this worker process lives, and what its threads do.

    Parameters:
      worker: Dramatiq's.
      add_up: called at each beat, to show what was counted.
    """

    def __init__(self, worker: Any, add_up: Callable[[], None]) -> None:
        super().__init__(name="dutiful-beat", daemon=True)
        self.worker = worker
        self.add_up = add_up
        self.path = shared() / f"beat-{os.getpid()}.json"
        self._stopping = threading.Event()

    def run(self) -> None:
        """Beat until stopped."""
        while not self._stopping.wait(_BEAT_SECONDS):
            self.add_up()
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
            health.write_whole(self.path, json.dumps(state))

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
    return problems + health.reasons(directory, "ready")


def standstill(directory: Path) -> list[str]:
    """Why jobs that wait don't get on; empty when they do, or when none waits."""
    return worker_problems(directory) + health.reasons(directory, "progress")


def serve_workers() -> int:
    """What Dramatiq runs as a fork beside its workers. It serves until the last of them has left.

    Returns:
      the exit status.
    """
    from workers import logs  # noqa: PLC0415  only in a process of its own
    from workers.settings import settings  # noqa: PLC0415  a fork reads them itself

    logs.configure(level=settings().logs.level, form=settings().logs.format, environment=settings().environment)
    chosen = settings().metrics
    parent = os.getppid()
    directory = chosen.directory or default_directory(parent)
    directory.mkdir(parents=True, exist_ok=True)
    clear_left_behind()
    leaving = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())
    port = chosen.port if chosen.port is not None else 9191
    merging = Merging(directory)
    server(chosen.host, port, merging.text, lambda: worker_problems(directory), lambda: standstill(directory))
    # Without its parent it leaves as well: another one will want the port.
    while os.getppid() == parent and not (leaving.is_set() and not _beating(directory)):
        time.sleep(_POLL_SECONDS)
    if not _beating(directory):
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def _beating(directory: Path) -> bool:
    """Whether a worker process of this folder lives; one that was killed leaves its last beat behind."""
    pids = [path.stem.removeprefix("beat-") for path in directory.glob("beat-*.json")]
    return any(processes.started(int(pid)) for pid in pids)


def server(
    host: str,
    port: int,
    metrics: Callable[[], bytes],
    problems: Callable[[], list[str]],
    progress: Callable[[], list[str]] | None = None,
) -> ThreadingHTTPServer:
    """Serve /metrics and /health, /health/live and /health/progress in a thread of its own.

    Parameters:
      metrics: as Prometheus reads them.
      problems: why this isn't ready; asked at each /health.
      progress: why work that waits doesn't get on; asked at each /health/progress. None: as `problems`.

    Raises:
      SystemExit: the port is taken; it says which setting names it.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENT_AFTER_SECONDS  # who connects and says nothing keeps no thread

        def do_GET(self) -> None:  # http.server's name
            if self.path == "/metrics":
                self._answer(200, metrics(), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path == "/health/live":
                self._answer(200, b'{"ok": true}', "application/json")
            elif self.path in {"/health", "/health/progress"}:
                found = progress() if progress and self.path == "/health/progress" else problems()
                body = json.dumps({"ok": not found} | ({"reasons": found} if found else {}))
                self._answer(503 if found else 200, body.encode(), "application/json")
            else:
                self._answer(404, b"try /metrics, /health, /health/live or /health/progress\n", "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write no access log: Prometheus asks every few seconds."""

    made = _bound(host, port, Handler)
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, name="dutiful-exposition", daemon=True).start()
    return made


class _Server(ThreadingHTTPServer):
    """A server that takes a client's hanging up for what it is."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless it is the client's own doing; Python's would write a traceback to stderr."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def _bound(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    deadline = time.monotonic() + _PORT_PATIENCE_SECONDS
    while True:
        try:
            return _Server((host, port), handler)
        except OSError as error:
            # The one before us may be on its way out.
            if time.monotonic() > deadline:
                raise SystemExit(_taken(host, port, error)) from None
            time.sleep(_POLL_SECONDS)


def _taken(host: str, port: int, error: OSError) -> int:
    import logging  # noqa: PLC0415  the one line that this module may have to write

    logging.getLogger(__name__).critical(
        "metrics can't be served on %s:%d (%s); set DUTIFUL_METRICS__PORT to a free port", host, port, error.strerror
    )
    return _EXIT_PORT_TAKEN
