"""Worker processes as people start them, and the doors through which tests look at them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pika

from tests.commands import unset

ROOT = Path(__file__).parents[2]
LONGEST_PAUSE_SECONDS = 0.25
ONLOOKER = "onlooker"  # what RabbitMQ calls the connections of those who look from outside
SHOP = Path(__file__).parent / "worker_site"
DRAMATIQ = Path(sys.executable).with_name("dramatiq")


def until(true, seconds=60, *, what="it did not happen", pause=0.05):
    """Wait for something that must happen. To look costs both sides, so what takes longer is looked at more rarely."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"{what} in {seconds} s"
        time.sleep(pause)
        pause = min(1.2 * pause, LONGEST_PAUSE_SECONDS)
    return found


class Worker:
    """`dramatiq`, in a process group of its own, so that a test that fails leaves nothing behind."""

    def __init__(self, site, environment, folder, *arguments, module="shop"):
        self.log = folder / "worker.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(DRAMATIQ), module, "-P", str(site), str(ROOT), *arguments],
                cwd=folder,
                env=unset() | {"DUTIFUL_METRICS__PORT": "0"} | environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until_ready(self, processes=1):
        said = b"Worker process is ready for action"
        until(lambda: self.log.read_bytes().count(said) >= processes, what=f"no worker was ready: {self.text()}")

    def text(self):
        return self.log.read_text(errors="replace")

    def events(self, name):
        objects = [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]
        return [each for each in objects if each["event"] == name]

    def children(self):
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def stop(self):
        """The exit status, and how many seconds it took. The signal goes to Dramatiq's parent only."""
        asked = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30), time.monotonic() - asked

    def kill(self):
        """All of its processes, at once and without a word."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Queue:
    """A queue seen from outside, as another service sees it."""

    def __init__(self, url, name):
        self.url, self.name = url, name

    def _connect(self):
        parameters = pika.URLParameters(self.url)
        parameters.client_properties = {"connection_name": ONLOOKER}
        return pika.BlockingConnection(parameters)

    def publish(self, *bodies, headers=None, exchange="dutiful.jobs"):
        with self._connect() as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            properties = pika.BasicProperties(delivery_mode=2, headers=headers)
            for body in bodies:
                channel.basic_publish(exchange, self.name, body, properties, mandatory=True)

    def count(self, name=None):
        with self._connect() as connection:
            return connection.channel().queue_declare(name or self.name, passive=True).method.message_count

    def exists(self):
        """Whether a worker has declared it."""
        try:
            return self.count() >= 0
        except pika.exceptions.ChannelClosedByBroker:
            return False

    def take(self, name=None):
        """Take every message: (properties, body)."""
        taken = []
        with self._connect() as connection:
            channel = connection.channel()
            while (found := channel.basic_get(name or self.name, auto_ack=True))[0] is not None:
                taken.append((found[1], found[2]))
        return taken

    def dead(self):
        """Take every dead letter: (properties, body)."""
        return self.take(f"{self.name}.XQ")


def envelope(actor, queue="shop", **kwargs):
    """A message as any language would write it."""
    return json.dumps(
        {
            "queue_name": queue,
            "actor_name": actor,
            "args": [],
            "kwargs": kwargs,
            "options": {},
            "message_id": str(uuid.uuid4()),
            "message_timestamp": int(time.time() * 1000),
        }
    ).encode()
