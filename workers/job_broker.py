"""What both brokers share: every way in which a message is put somewhere."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

import dramatiq
from dramatiq import Message
from dramatiq.errors import ActorNotFound
from sqlalchemy import Engine

from workers import envelope, post_mortem
from workers.clock import utcnow
from workers.current import running_job
from workers.declaration import Actor
from workers.delivery import Carried, Delivery
from workers.errors import ConfigurationError, ContractError
from workers.event_loop import refuse_to_block_an_event_loop
from workers.hooks import HookedBroker
from workers.job import Job
from workers.limits import Limits
from workers.traces import stamp
from workers.transport import topology

_UNKNOWN_ACTOR_PATIENCE: Final = timedelta(minutes=10)
_LONGEST_STEP_SECONDS: Final = 60
_SHOWN: Final = 40


class JobBroker(HookedBroker):
    """A broker of jobs.

    Attributes:
      store: the engine of the store.
      store_id: its identity, once a worker has booted.
      limits: of attempts, where an actor states none.
    """

    store: Engine
    store_id: str | None = None
    limits: Limits = Limits()

    def declare_actor(self, actor: dramatiq.Actor[..., Any]) -> None:
        """Make an actor known to this process.

        Raises:
          ConfigurationError: its name is too long for the queue in which its messages wait while it is paused.
        """
        size = len(actor.actor_name.encode(errors="replace"))
        if size > topology.LONGEST_ACTOR:
            raise ConfigurationError(
                f"actor {actor.actor_name[:_SHOWN]}… can't be declared: its name is part of a queue's",
                expected=f"actor_name of at most {topology.LONGEST_ACTOR} bytes of UTF-8",
                received=f"{size} bytes",
            )
        super().declare_actor(actor)

    def is_short(self, queue: str) -> bool:
        """Whether every job of a queue is declared as short."""
        actors = [each for each in self.actors.values() if each.queue_name == queue]
        return bool(actors) and all(isinstance(each, Actor) and each.short for each in actors)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Send a message: inside `current_job().transaction()` with its commit, elsewhere now.

        Parameters:
          message: the message.
          delay: milliseconds.

        Raises:
          ContractError: an argument is missing, or it is too large.
          PublishError: it was not, or perhaps not, taken.
        """
        self.refuse(message)
        job = running_job()
        if job is None or not self._collected(job, message, delay):
            self.publish(message, delay=delay)
        return message

    async def enqueue_async(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """As `enqueue`, for an event loop: other tasks go on until the confirm is there."""
        self.refuse(message)
        job = running_job()
        if job is None or not self._collected(job, message, delay):
            await asyncio.to_thread(self.publish, message, delay=delay)
        return message

    def _collected(self, job: Job, message: Message[Any], delay: int | None) -> bool:
        """Whether the message goes with the commit of the job that sends it."""
        if job.connection is not None:
            stamp(message)  # whoever publishes it knows nothing of this place
        return job.collect(message, delay)

    def enqueue_many(
        self,
        messages: Iterable[Message[Any]],
        *,
        delay: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Send many messages with a bounded number of them on their way, and return how many were confirmed.

        Parameters:
          messages: taken as there is room, so that there may be any number of them.
          delay: milliseconds, for each.
          progress: told now and then how many are confirmed.

        Raises:
          ContractError: one lacks an argument, or is too large.
          PublishError: one was not, or perhaps not, taken; `error.message` is that one. Those before it were confirmed,
            some of those behind it may have been: sending all of them again can't double a job that has a key.
        """
        confirmed = 0
        for message in messages:
            self.refuse(message)
            self.publish(message, delay=delay)
            confirmed += 1
            if progress is not None:
                progress(confirmed)
        return confirmed

    def refuse(self, message: Message[Any]) -> None:
        """Look at what a sender wants to send. What this broker publishes by itself has been accepted before.

        Raises:
          ContractError: it waits for a pipeline's result, and can't go alone, or a name of it is too long for AMQP.
        """
        envelope.refuse_long_words(message)
        if "awaits" in message.options:
            raise ContractError(
                f"{message.actor_name} can't run without {message.options['awaits']}",
                expected="all of its arguments, or a place in a pipeline behind a job that returns it",
                received="a message of its own",
            )

    def publish(self, message: Message[Any], *, delay: int | None = None) -> None:
        """Send a message now, and return when it is confirmed.

        Raises:
          ConfigurationError: this is an event loop, which must not wait.
          PublishError: it was not, or perhaps not, taken; `error.message` is the message.
        """
        refuse_to_block_an_event_loop()
        self.emit_before("enqueue", message, delay)
        self.send_to_queue(message, delay)
        self.emit_after("enqueue", message, delay)

    def send_to_queue(self, message: Carried, delay: int | None) -> None:
        """Publish and wait for the confirm."""
        raise NotImplementedError

    def bury(self, message: Carried, headers: Mapping[str, Any]) -> None:
        """Put a job among the dead letters of its queue, with what it says of itself."""
        raise NotImplementedError

    def put_back(self, delivery: Delivery, delay: timedelta) -> None:
        """Send it again after a delay, without spending an attempt."""
        now = int(utcnow().timestamp() * 1000)
        options = {
            "deferrals": delivery.options.get("deferrals", 0) + 1,
            "first_deferred_at": delivery.options.get("first_deferred_at", now),
        }
        self.send_to_queue(delivery.copy(options=options), int(delay.total_seconds() * 1000))

    def turn_away(self, delivery: Delivery, queue: str) -> bool:
        """Deal with a message that no actor here can run, before Dramatiq sees it.

        Returns:
          whether it has been dealt with and can be settled.
        """
        if delivery.queue_name != queue:
            # Dramatiq would end the worker thread after the job ran. The queue it came from wins.
            error = ContractError(
                "the message names another queue than it is in", expected=queue, received=delivery.queue_name[:255]
            )
            delivery.queue_name = queue
            self.bury(delivery, post_mortem.headers("contract", error, message=delivery))
            return True
        try:
            self.get_actor(delivery.actor_name)
        except ActorNotFound as error:
            # A rolling deploy: another worker knows it already, or will soon.
            deferrals = delivery.options.get("deferrals", 0)
            first = delivery.options.get("first_deferred_at")
            waited = utcnow().timestamp() - first / 1000 if first else 0
            if waited > _UNKNOWN_ACTOR_PATIENCE.total_seconds():
                self.bury(delivery, post_mortem.headers("unknown_actor", error, message=delivery))
            else:
                self.put_back(delivery, timedelta(seconds=min(2**deferrals, _LONGEST_STEP_SECONDS)))
            return True
        return False
