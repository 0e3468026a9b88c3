"""Expiry lets no job begin that comes too late to be of use: it becomes a dead letter, and isn't dropped."""

from datetime import timedelta

from dramatiq import Broker, Middleware

from workers.clock import utcnow
from workers.delivery import Delivery
from workers.errors import Expired


class Expiry(Middleware):
    """Looks at `expires_in`, milliseconds since the job was sent, before each attempt; a replay is never too late."""

    @property
    def actor_options(self) -> set[str]:
        """What an actor or a message may say."""
        return {"expires_in"}

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Look.

        Raises:
          Expired: it is too late.
        """
        stated = broker.get_actor(message.actor_name).options.get("expires_in")
        expires_in = message.options.get("expires_in", stated)
        if expires_in is None or message.generation > 0:  # who replays it has decided
            return
        age = utcnow().timestamp() * 1000 - message.message_timestamp
        if age > expires_in:
            raise Expired(
                f"{message.actor_name} comes too late to run",
                expected=f"{timedelta(milliseconds=expires_in)} at most since it was sent",
                received=f"{timedelta(milliseconds=int(age))}",
            )
