"""A declaration, @actor, makes a function a job: its contract, its limits and its card."""

import dis
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ParamSpec, Protocol, TypeVar, overload

import dramatiq
from dramatiq import Message

from workers.contracts import Contract
from workers.current import current_job, running_job
from workers.errors import ConfigurationError
from workers.job import MESSAGE_ID
from workers.keys import KeyTemplate, checked_key
from workers.limits import HARD, SOFT, Limits, milliseconds

P = ParamSpec("P")
R = TypeVar("R")

_DURATIONS = (SOFT, HARD, "min_backoff", "max_backoff", "expires_in")


@dataclass(frozen=True)
class JobCard:
    """What the person on call must know about a job.

    Attributes:
      owner: the team that answers for it.
      expects: what is true when it has succeeded.
      rollback: how to take back what it did.
    """

    owner: str
    expects: str
    rollback: str


class Actor(dramatiq.Actor[P, R]):
    """A Dramatiq actor with a contract and a job card.

    Attributes:
      card: owner, expected result and rollback note.
      contract: the arguments that it takes.
      key: what makes two messages the same job: a template, "the message id", or None where no record is kept.
      short: it takes well under a second.
    """

    card: JobCard
    contract: Contract
    key: KeyTemplate | str | None
    short: bool

    def message_with_options(
        self,
        *,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        message_id: str | None = None,
        **options: Any,
    ) -> Message[R]:
        """A message with validated arguments.

        Parameters:
          args, kwargs: the arguments.
          message_id: one of your own; two messages with one id are one job.
          options: Dramatiq's options and `key`, which win over the actor's; no limit above the actor's hard one.

        Returns:
          the message. One required argument may be missing: in a pipeline, the result of the job before is put there;
          by itself such a message can't be sent.

        Raises:
          ContractError: the arguments don't match the signature, or a limit is above the actor's hard one.
        """
        arguments = self.contract.check(args, kwargs or {}, but_one=not options.get("pipe_ignore"))
        wire = arguments.wire
        if arguments.awaits is not None:
            options["awaits"] = arguments.awaits
        options |= _durations(f"a message for {self.actor_name} can't be sent", options)
        getattr(self.broker, "limits", Limits()).refuse_message(self.actor_name, self.options, options)
        if "key" in options:
            checked_key(self.actor_name, options["key"])
        options["contract"] = self.contract.version  # whoever publishes: all their messages are made here
        job = running_job()
        if message_id is None and job is not None:
            message_id = job.child_id(self.actor_name, wire)
        message: Message[R] = super().message_with_options(args=(), kwargs=wire, **options)
        # It is frozen, and nobody has seen it yet; a changed copy would cost as much as all the rest.
        object.__setattr__(message, "message_id", message_id or _dated(message))
        return message

    async def send_async(self, *args: P.args, **kwargs: P.kwargs) -> Message[R]:
        """As `send`, on an event loop."""
        return await self.send_with_options_async(args=args, kwargs=kwargs)

    async def send_with_options_async(
        self,
        *,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        delay: timedelta | int | None = None,
        **options: Any,
    ) -> Message[R]:
        """As `send_with_options`, on an event loop."""
        if isinstance(delay, timedelta):
            delay = int(delay.total_seconds() * 1000)
        message = self.message_with_options(args=args, kwargs=kwargs, **options)
        return await self.broker.enqueue_async(message, delay=delay)  # type: ignore[attr-defined, no-any-return]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, with its arguments validated."""
        job = running_job()
        # A worker has validated them already, before it claimed the job; they serve for that one call.
        ready = job.take_arguments(self.actor_name) if job is not None else None
        values = self.contract.check(args, kwargs).values if ready is None else ready
        return self.fn(**values)  # type: ignore[call-arg]  # the contract has just said that they fit


class ActorDecorator(Protocol):
    """What `@actor(…)` returns."""

    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]]) -> Actor[P, R]: ...

    @overload
    def __call__(self, fn: Callable[P, R]) -> Actor[P, R]: ...


def actor(
    *,
    owner: str,
    expects: str,
    rollback: str,
    key: str | None = MESSAGE_ID,
    actor_name: str | None = None,
    queue_name: str = "default",
    priority: int = 0,
    short: bool = False,
    broker: dramatiq.Broker | None = None,
    **options: Any,
) -> ActorDecorator:
    """Declare a function as a job.

    Parameters:
      owner, expects, rollback: the job card; each must be said.
      key: a template over the arguments that names the job, such as "{order_id}"; default: the message id.
        None: the job is harmless to repeat, and no record is kept.
      actor_name: default: the function's name.
      queue_name: the queue that it waits in.
      priority: Dramatiq's: lower runs first among messages that this process holds.
      short: it takes well under a second. A queue all of whose jobs are short is fetched far ahead, which is several
        times faster; a job behind a long one would wait for it there.
      broker: default: Dramatiq's own, which setup_broker() has set.
      options: Dramatiq's, and those of our middleware: `hard_time_limit`, `expires_in`, `report_each_attempt` (to
        Sentry), `isolated` (it runs in a child process), `memory_limit_megabytes` there. A duration is a timedelta or
        milliseconds.

    Raises:
      ConfigurationError: the declaration can't work.
    """

    def declare(fn: Callable[..., Any]) -> Any:
        name = actor_name or fn.__name__
        card = JobCard(owner, expects, rollback)
        missing = [field for field in ("owner", "expects", "rollback") if not getattr(card, field).strip()]
        if missing:
            raise ConfigurationError(
                f"actor {name} can't be declared: its job card lacks {', '.join(missing)}",
                expected='owner="a team", expects="what is true afterwards", rollback="how to take it back"',
            )
        if key is None and _uses_transaction(fn):
            raise ConfigurationError(
                f"actor {name} can't be declared: transaction() keeps a record of the job",
                expected="an actor with a key; leave `key` out, and it is the message's id",
                received="key=None: no record",
            )
        contract = Contract(name, fn)
        template = key if key in {None, MESSAGE_ID} else KeyTemplate(name, str(key), contract.signature.parameters)
        durations = _durations(f"actor {name} can't be declared", options)
        chosen = broker or dramatiq.get_broker()
        getattr(chosen, "limits", Limits()).refuse(name, durations)

        def build(fn: Callable[..., Any], **declared: Any) -> Actor[..., Any]:
            built: Actor[..., Any] = Actor.__new__(Actor)
            # Before __init__, which announces the actor to every middleware.
            built.card, built.contract, built.key, built.short = card, contract, template, short
            Actor.__init__(built, fn, **declared)
            return built

        return dramatiq.actor(
            actor_class=build,
            actor_name=name,
            queue_name=queue_name,
            priority=priority,
            broker=chosen,
            **{**options, **durations},
        )(fn)

    return declare


def _dated(message: Message[Any]) -> str:
    """The random id that Dramatiq gave it, with the time at its front: a UUID of version 7.

    Where ids are keys, those of one moment then lie side by side in the store, and share the pages to be written.
    """
    time = f"{message.message_timestamp:012x}"
    return f"{time[:8]}-{time[8:]}-7{message.message_id[15:]}"


def _durations(what: str, options: dict[str, Any]) -> dict[str, int]:
    return {name: milliseconds(what, name, options[name]) for name in _DURATIONS if options.get(name) is not None}


def _uses_transaction(fn: Callable[..., Any]) -> bool:
    """Whether the function says `current_job().transaction` itself; what it calls is seen when the job runs."""
    said = [each for each in dis.get_instructions(fn) if each.opname not in {"CACHE", "PRECALL", "PUSH_NULL"}]
    return any(
        name.opname == "LOAD_GLOBAL"
        and fn.__globals__.get(name.argval) is current_job
        and (call.opname, attribute.argval) == ("CALL", "transaction")
        for name, call, attribute in zip(said, said[1:], said[2:], strict=False)
    )
