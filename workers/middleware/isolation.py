"""Isolation runs a job in a child process: where its actor says so, and where its worker may have died of it."""

import sys
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final

import dramatiq
from dramatiq import Broker, Middleware, Worker

from workers.children import Child, Children, Task
from workers.delivery import Delivery
from workers.errors import Crashed, rebuilt
from workers.guard import Guard
from workers.limits import HardTimeLimitExceeded
from workers.store.keys import Claim
from workers.watch import count_limit

_MEGABYTE: Final = 1024 * 1024


class Isolation(Middleware):
    """Lets a job that dies take nothing but its own process along; after `crash_limit` deaths it is a dead letter.

    Parameters:
      children: the processes; None: jobs run where they are, as in tests with a broker in memory.
      memory_limit: what such a job may have, in megabytes, where its actor states nothing.
      crash_limit: deaths after which a job is not tried again.
    """

    def __init__(self, children: Children | None, *, memory_limit: int, crash_limit: int) -> None:
        self.children = children
        self.memory_limit = memory_limit
        self.crash_limit = crash_limit
        self._found_dead: set[str] = set()
        self._importable: Collection[str] = ()

    @property
    def actor_options(self) -> set[str]:
        """What an actor may say."""
        return {"isolated", "memory_limit_megabytes"}

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Find out what children can import; start one ahead where an actor needs it."""
        if self.children is None:
            return
        found = _declared()
        self._importable = found.keys()
        self.children.open(list(dict.fromkeys(found.values())))
        if any(actor.options.get("isolated") for actor in broker.actors.values()):
            self.children.warm()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """End the children."""
        if self.children is not None:
            self.children.close()

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Say where it runs.

        Raises:
          Crashed: it has died too often.
        """
        job = message.job
        assert job is not None  # noqa: S101  CurrentJob stands above in the list
        options = broker.get_actor(message.actor_name).options
        died = job.claim is not None and job.claim.died
        if died:
            self._count_death(job.claim)
        if died and not options.get("isolated"):
            # Its worker died, perhaps of it. Where it had a process of its own before, it did not: it counts once.
            message.options["crashes"] = max(1, message.options.get("crashes", 0))  # copies of it carry that along
        if message.options.get("crashes", 0) >= self.crash_limit:
            raise self._crashed(message)
        # Without a record nobody knows whether its worker died of it, or handed it back.
        suspected = "crashes" in message.options or (job.key is None and message.redelivered)
        wanted = options.get("isolated") or suspected
        if self.children is not None and wanted and message.actor_name in self._importable:
            memory = options.get("memory_limit_megabytes", self.memory_limit) * _MEGABYTE
            message.isolate = partial(self._run, self.children, message, memory)

    def _run(self, children: Children, message: Delivery, memory: int, _call: Callable[[], Any]) -> Any:
        job, attempt = message.job, message.running
        assert job is not None and attempt is not None  # noqa: S101, PT018  TimeLimit stands below in the list
        child: Child = children.take()
        try:
            child.wait_until_ready()
            attempt.begin()
            task = Task(message.asdict(), job.claim, job.holder, attempt.deadline, memory)
            answer = attempt.run(partial(child.run, task, attempt.hard_at), Guard(child.interrupt))
        except BaseException as error:
            children.drop(child)
            if isinstance(error, HardTimeLimitExceeded):
                count_limit(message, "hard")
            if isinstance(error, Crashed):
                message.options["crashes"] = message.options.get("crashes", 0) + 1
                error.is_final = message.options["crashes"] >= self.crash_limit
            raise
        children.give_back(child)
        job.ended, job.unsent = answer.ended, job.unsent or answer.unsent
        message.database_calls += answer.database_calls
        if answer.error is not None:
            raise rebuilt(*answer.error)
        return answer.result

    def _count_death(self, claim: Claim | None) -> None:
        from workers import metrics  # noqa: PLC0415  not before share()

        holder = claim.recorded.holder if claim is not None and claim.recorded is not None else None
        if holder is not None and holder not in self._found_dead:
            self._found_dead.add(holder)
            metrics.worker_deaths.inc()

    def _crashed(self, message: Delivery) -> Crashed:
        error = Crashed(
            f"{message.actor_name} has killed the process that ran it",
            expected=f"fewer than {self.crash_limit} deaths",
            received=str(message.options["crashes"]),
        )
        error.is_final = True
        return error


def _declared() -> dict[str, str]:
    """Each actor's module, in the order of import. One that no module holds can't be found by a child."""
    return {
        value.actor_name: name
        for name, module in tuple(sys.modules.items())
        if name != "__main__"
        for value in tuple(vars(module).values())
        if isinstance(value, dramatiq.Actor)
    }
