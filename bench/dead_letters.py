"""How long, and in how much memory, does it take to group 100,000 dead letters, and to replay 40,000 of them?

python -m bench.dead_letters
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pika

from bench.contest import broker

_LETTERS = 100_000
_KINDS = 12
_LARGEST = 40_000
_TRACEBACK = "  File workers.py, line 1, in job\n" * 40
_SITE = """
from workers import actor
from workers.broker import setup_broker
setup_broker()

@actor(queue_name="jobs", owner="bench", expects="nothing", rollback="none")
def job(n: int) -> None: ...
"""


def main() -> None:
    """Fill a dead queue, then run the commands as an operator does."""
    with broker() as stack, tempfile.TemporaryDirectory(prefix="dutiful-bench-") as name:
        folder = Path(name)
        (folder / "site_of_the_bench.py").write_text(_SITE)
        url = stack.administrator
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{folder}:{Path(__file__).parents[1]}",
            "DUTIFUL_RABBITMQ__URL": url,
            "DUTIFUL_STORE__URL": f"sqlite:///{folder}/store.db",
        }
        _run(environment, "queues", "declare", "site_of_the_bench")
        _fill(url)
        before = _order(environment)
        _say("list", before[1])
        _say("list --group", _run(environment, "dead-letters", "list", "--group", *_PACKAGE))
        replayed = _run(environment, "dead-letters", "replay", "--fingerprint", "kind00", *_PACKAGE)
        _say(replayed[0].strip(), replayed)
        left = [each for each in before[0] if each[1] != "kind00"]
        after = _order(environment)
        moved = _count(url, "jobs")
        sys.stdout.write(f"moved {moved}; the others {'kept their order' if after[0] == left else 'CHANGED'}\n")


_PACKAGE = ("--package", "site_of_the_bench")


def _letters() -> Iterator[tuple[bytes, pika.BasicProperties]]:
    smaller = (_LETTERS - _LARGEST) // (_KINDS - 1)
    left = Counter({f"kind{number:02d}": smaller for number in range(1, _KINDS)})
    left["kind00"] = _LETTERS - smaller * (_KINDS - 1)
    while left:
        for kind in list(left):
            message_id = str(uuid.uuid4())
            said = {"dutiful-reason": "permanent", "dutiful-fingerprint": kind, "dutiful-traceback": _TRACEBACK}
            body = {"queue_name": "jobs", "actor_name": "job", "args": [], "kwargs": {"n": 1}, "options": {}}
            body |= {"message_id": message_id, "message_timestamp": int(time.time() * 1000)}
            yield (
                json.dumps(body).encode(),
                pika.BasicProperties(delivery_mode=2, message_id=message_id, type="job", headers=said),
            )
            left[kind] -= 1
        left = +left


def _fill(url: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for body, properties in _letters():
            channel.basic_publish("", "jobs.XQ", body, properties)
    while _count(url, "jobs.XQ") < _LETTERS:
        time.sleep(0.5)


def _count(url: str, queue: str) -> int:
    """What RabbitMQ says with a message; under load it declares a long queue to be empty."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        found, _, _ = connection.channel().basic_get(queue)
        return int(found.message_count) + 1 if found else 0


def _order(environment: dict[str, str]) -> tuple[list[tuple[str, str]], tuple[str, float, int]]:
    """Id and kind of each letter in the queue, in order, and what it took."""
    found = _run(environment, "dead-letters", "list", "--json", *_PACKAGE)
    return [(each["id"], each["fingerprint"]) for each in json.loads(found[0])], found


def _run(environment: dict[str, str], *arguments: str) -> tuple[str, float, int]:
    """What it wrote, how many seconds it took, and the most memory that it had, in MiB."""
    began = time.monotonic()
    code = (
        "import sys\nfrom workers.cli import main\ntry:\n    main()\nfinally:\n"
        "    sys.stderr.write(open('/proc/self/status').read().partition('VmHWM:')[2].partition('kB')[0])"
    )
    answer = subprocess.run(  # noqa: S603  our own command
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    (peak,) = re.findall(r"(\d+) $", answer.stderr)
    return answer.stdout, time.monotonic() - began, int(peak) // 1024


def _say(what: str, found: tuple[str, float, int]) -> None:
    sys.stdout.write(f"{what}: {found[1]:.1f} s, at most {found[2]} MiB\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
