"""Successors sends what follows from a job: the next one of its pipeline, its callbacks, those of its group.

What follows from a success is stored in the commit that marks the job done (`Job.hand_on`), and Idempotency publishes
it. Only a job without a record (key=None) has it published here, before its message is acknowledged.
"""

from contextlib import nullcontext
from typing import Any

import dramatiq
from dramatiq import Broker, Message
from dramatiq.errors import ActorNotFound
from dramatiq.middleware.group_callbacks import GroupCallbacks
from dramatiq.rate_limits import RateLimiterBackend
from sqlalchemy import Engine

from workers.current import running_job
from workers.declaration import Actor
from workers.delivery import Delivery
from workers.errors import ContractError, PermanentFailure
from workers.groups import message_in, outgoing
from workers.job_broker import JobBroker
from workers.store import groups
from workers.store.engine import begin
from workers.store.outbox import Outgoing


class Successors(GroupCallbacks):
    """Does what Dramatiq's Pipelines, Callbacks and GroupCallbacks do.

    It is a GroupCallbacks because `dramatiq.group.run()` looks for one, and registers the group with its backend.

    Parameters:
      engine: the store's.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(_Register(engine))

    @property
    def actor_options(self) -> set[str]:
        """What an actor or a message may say; the words are Dramatiq's."""
        return {"on_failure", "on_success", "pipe_ignore", "pipe_target"}

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Find out what will follow, while nothing has run yet."""
        job = message.job
        assert job is not None  # noqa: S101  CurrentJob stands above in the list
        actor = broker.get_actor(message.actor_name)
        data = message.options.get("pipe_target")
        target = None if data is None else message_in(data, "pipe_target")
        name = message.options.get("on_success") or actor.options.get("on_success")
        callback = _callback(broker, name) if name else None
        if target is None and callback is None:
            return
        ignored = target is not None and (target.options.get("pipe_ignore") or actor.options.get("pipe_ignore"))

        def follow(result: Any) -> list[Outgoing]:
            try:
                return made(result)
            except (TypeError, ValueError, RecursionError) as error:
                raise PermanentFailure(
                    f"{job.actor} returned what can't be handed on",
                    expected="what JSON can hold: its result goes to another job",
                    received=f"{type(result).__name__}: {error}",
                ) from error

        def made(result: Any) -> list[Outgoing]:
            found: list[Outgoing] = []
            if callback is not None:
                sent = callback.message(message.asdict(), result)
                stable = job.child_id(callback.actor_name, {"after": message.message_id})
                found.append(outgoing(sent._replace(message_id=stable)))
            if target is not None:
                then = target if ignored else _given(broker, target, result)
                found.append(outgoing(then, then.options.get("delay")))
            return found

        returns_none = actor.fn.__annotations__.get("return", ...) in {None, "None"}
        if returns_none or (ignored and callback is None):
            job.followed_by(follow, result=None)
        else:
            job.followed_by(follow)

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """Publish what follows from a failure, and from a job that keeps no record."""
        assert isinstance(broker, JobBroker)  # noqa: S101  narrows the type
        match message.outcome.verdict:
            case "succeeded" if message.job is not None and message.job.key is None:
                message.job.prepare(result)
                for each in message.job.following:
                    broker.publish(Message.decode(each.body), delay=each.delay_ms)
            case "retried" | "dead":
                options = broker.get_actor(message.actor_name).options
                name = message.options.get("on_failure") or options.get("on_failure")
                if name:
                    said = {"type": type(exception).__name__, "message": str(exception)}
                    broker.publish(broker.get_actor(name).message(message.asdict(), said))


def _callback(broker: Broker, name: Any) -> dramatiq.Actor[..., Any]:
    try:
        return broker.get_actor(name)
    except (ActorNotFound, TypeError) as error:
        raise ContractError("on_success can't be read", expected="an actor's name", received=str(error)) from None


def _given(broker: Broker, target: Message[Any], result: Any) -> Message[Any]:
    """The pipeline's next message with the result as its next argument: by name where its actor has a contract."""
    actor = broker.actors.get(target.actor_name)
    name = target.options.get("awaits")
    if name is None and isinstance(actor, Actor):
        name = actor.contract.next_argument(target.args, target.kwargs)
    if name is None:
        return target._replace(args=(*target.args, result))
    options = {option: value for option, value in target.options.items() if option != "awaits"}
    return target._replace(kwargs={**target.kwargs, name: result}, options=options)


class _Register(RateLimiterBackend):
    """Where `dramatiq.group.run()` registers a group before it sends the members; counting is the store's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, key: str, value: int, ttl: int) -> bool:
        """Register a group: in the job's transaction, where one is open."""
        job = running_job()
        inside = job.connection if job is not None else None
        with begin(self._engine) if inside is None else nullcontext(inside) as connection:
            return groups.create(connection, key, value)
