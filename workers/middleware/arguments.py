"""CheckedArguments lets no job run whose arguments break its contract."""

from typing import Any

from dramatiq import Broker, Middleware

from workers.contracts import arguments_hash
from workers.declaration import Actor
from workers.delivery import Delivery
from workers.errors import ContractError, Deferred
from workers.groups import join_group
from workers.keys import KeyTemplate, checked_key
from workers.rollout import next_look


class CheckedArguments(Middleware):
    """Validates the arguments that came, and works out the job's key from them.

    A plain Dramatiq actor has no contract: its arguments pass as they are, and its key is the message's id.
    """

    def prepare(self, broker: Broker, deliveries: list[Delivery]) -> None:
        """Validate; a message whose arguments break the contract is refused, and can never run."""
        for delivery in deliveries:
            try:
                self._check(broker, delivery)
            except (ContractError, Deferred) as error:
                delivery.refusal = error

    def _check(self, broker: Broker, message: Delivery) -> None:
        job = message.job
        assert job is not None  # noqa: S101  CurrentJob stands above in the list
        actor = broker.get_actor(message.actor_name)
        join_group(job, message.options)
        given = message.options.get("key")
        if not isinstance(actor, Actor):
            job.key = checked_key(actor.actor_name, given if given is not None else message.message_id)
            job.arguments_hash = arguments_hash(actor.actor_name, {"args": list(message.args), **message.kwargs})
            return
        wire = actor.contract.bind(message.args, message.kwargs)
        arguments = self._accepted(actor, message, wire)
        job.validated(arguments)
        checked_key(actor.actor_name, message.message_id)  # it is stored beside the key, or with what the job sends
        if actor.key is None:
            job.key = None
            return
        job.arguments_hash = arguments_hash(actor.actor_name, wire)
        if given is not None:
            job.key = checked_key(actor.actor_name, given)
        elif isinstance(actor.key, KeyTemplate):
            job.key = actor.key(arguments)
        else:
            job.key = message.message_id

    def _accepted(self, actor: Actor[..., Any], message: Delivery, wire: dict[str, Any]) -> dict[str, Any]:
        """The arguments; where another version of the contract was meant, a worker of that version may take them."""
        try:
            return actor.contract.accept(wire)
        except ContractError as error:
            meant = message.options.get("contract")
            delay = next_look(message.options)
            if meant is None or delay is None or meant == actor.contract.version:
                raise
            what = f"a job of {actor.actor_name} was made for another contract"
            raise Deferred(what, why="other_contract", delay=delay, received=f"version {meant}") from error
