"""Jobs that follow from each other, run by a worker that kills itself at the n-th step; each effect is a row.

python steps.py LOG STEP      a step is a commit, a publish or an ack: right before it, or right after it
"""

import os
import signal
import sys
import threading
from pathlib import Path

import dramatiq
from sqlalchemy import text

from workers import OpenGroup, actor, current_job
from workers.broker import setup_broker
from workers.consumer import RabbitmqConsumer

BROKER = setup_broker()
CARD = {"queue_name": "steps", "owner": "tests", "expects": "a row", "rollback": "none"}


def effect(connection, what):
    connection.execute(text("CREATE TABLE IF NOT EXISTS effects (what TEXT)"))
    connection.execute(text("INSERT INTO effects VALUES (:what)"), {"what": what})


@actor(**CARD)
def work(what: str, part: int) -> int:
    with current_job().transaction() as connection:
        effect(connection, f"{what} part {part}")
        current_job().returns(part + 1)
    return part + 1


@actor(**CARD)
def returning(what: str, part: int) -> int:
    return part + 1


@actor(**CARD, key=None)
def keyless(what: str, part: int) -> None:
    pass


@actor(**CARD)
def told(message: dict, result: int) -> None:
    with current_job().transaction() as connection:
        effect(connection, f"{message['kwargs']['what']} told {result}")


@actor(**CARD)
def after(what: str) -> None:
    with current_job().transaction() as connection:
        effect(connection, f"{what} after")


def pipeline(what):
    (returning.message(what, 0) | work.message(what) | work.message(what)).run()


def callback(what):
    BROKER.enqueue(work.message_with_options(kwargs={"what": what, "part": 1}, on_success="told"))
    BROKER.enqueue(returning.message_with_options(kwargs={"what": what, "part": 7}, on_success="told"))


def group(what):
    members = dramatiq.group(
        [work.message(what, 1), keyless.message(what, 2), returning.message(what, 3) | work.message(what)]
    )
    members.add_completion_callback(after.message(what))
    members.run()


@actor(**CARD)
def start(kind: str, n: int) -> None:
    what = f"{kind} {n}"
    with current_job().transaction() as connection:
        effect(connection, f"{what} started")
        {"pipeline": pipeline, "callback": callback, "group": group}[kind](what)


@actor(**CARD)
def stage(kind: str, n: int) -> None:
    """Find members little by little, as an import does."""
    job, what = current_job(), f"{kind} {n}"
    members = OpenGroup(what)
    for part in range(job.checkpoint or 0, 3):
        with job.transaction(checkpoint=part + 1) as connection:
            effect(connection, f"{what} staged {part}")
            if part == 0:
                members.open(after.message(what))
            members.send(work.message(what, part))
    with job.transaction():
        members.close()


class Killer:
    """Counts the steps from the start of job n on, and kills its process at the n-th; with 0 it lists all of them."""

    def __init__(self, log, at):
        self.log, self.at = log, at
        self.count = 0
        self.armed = False
        self.lock = threading.Lock()

    def step(self, name):
        if not self.armed or threading.current_thread().name == "dutiful-lease":
            return
        with self.lock:
            self.count += 1
            if self.at in {0, self.count}:
                with self.log.open("a") as log:
                    log.write(f"{self.count}: {name}\n")
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name, act):
        def watched(*arguments, **options):
            self.step(f"before {name}")
            result = act(*arguments, **options)
            self.step(f"after {name}")
            return result

        return watched

    def watch(self):
        begin = BROKER.emit_before

        def armed(signal_name, *arguments, **options):
            starts = signal_name == "process_message" and arguments[0].kwargs.get("n") == self.at
            self.armed = self.armed or starts  # what an earlier worker left comes first, and isn't counted
            begin(signal_name, *arguments, **options)

        BROKER.emit_before = armed
        dialect = BROKER.store.dialect
        dialect.do_commit = self.around("commit", dialect.do_commit)
        BROKER.send_to_queue = self.around("publish", BROKER.send_to_queue)
        RabbitmqConsumer.ack = self.around("ack", RabbitmqConsumer.ack)


if __name__ == "__main__":
    Killer(Path(sys.argv[1]), int(sys.argv[2])).watch()
    worker = dramatiq.Worker(BROKER, worker_timeout=50, worker_threads=1)
    worker.start()
    signal.pause()
