"""A gateway's process as people start it, and clients of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from processes import ROOT, unset, until

from deploy.local import ports
from workers.store import tokens
from workers.store.engine import begin, create_store_engine
from workers.store.migrate import migrate

SITE = Path(__file__).parent / "gateway_site"
UVICORN = Path(sys.executable).with_name("uvicorn")


class Gateway:
    """uvicorn with the site's gateway; `environment` names broker and store."""

    def __init__(self, environment, folder, package="counter"):
        (self.port,) = ports.choose(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "gateway.log"
        self.environment = unset() | {"PYTHONPATH": f"{SITE}{os.pathsep}{ROOT}", "DUTIFUL_GATEWAY__PACKAGE": package}
        self.environment |= environment
        self.folder, self.process = folder, None
        self.start()

    def start(self):
        arguments = ["--factory", "--port", str(self.port), "--no-server-header", "--timeout-graceful-shutdown", "10"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [UVICORN, "workers.gateway:create_app", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self):
        until(self.is_ready, what=f"the gateway was not ready: {self.log.read_text()}")

    def is_ready(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError:
            return False

    def client(self, token=None, **options):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **options)

    def stop(self):
        """The exit status, and how many seconds it took."""
        asked = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30), time.monotonic() - asked

    def kill(self):
        self.process.kill()
        self.process.wait()


def add_token(store_url, name, *actors):
    """A token of a store, whose tables are made first."""
    engine = create_store_engine(store_url)
    migrate(engine, package=None)
    with begin(engine) as connection:
        token = tokens.add(connection, name, actors)
    engine.dispose()
    return token
