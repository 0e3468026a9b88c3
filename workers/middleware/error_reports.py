"""ErrorReports tells Sentry once of each job that ended as a dead letter, or of each attempt where asked."""

from importlib.metadata import version
from typing import Any

from dramatiq import Broker, Middleware

from workers import post_mortem
from workers.declaration import Actor
from workers.delivery import Delivery, Outcome
from workers.masking import masked_text

_ASKED = "report_each_attempt"


class ErrorReports(Middleware):
    """One report a job, not one an attempt; no arguments and no local variables in it.

    Parameters:
      dsn: where to; None: nothing is sent, and sentry-sdk isn't loaded.
      environment: development, staging or production.
      revision: which revision of the code runs; part of the release.
    """

    def __init__(self, *, dsn: str | None, environment: str, revision: str) -> None:
        self.dsn = dsn
        self.environment = environment
        self.release = f"dutiful@{version('dutiful')}" + (f"+{revision}" if revision else "")

    @property
    def actor_options(self) -> set[str]:
        """What an actor may say: that each of its attempts that fails is a report."""
        return {_ASKED}

    def after_process_boot(self, broker: Broker) -> None:
        """Connect the worker process."""
        if self.dsn is None:
            return
        import sentry_sdk  # noqa: PLC0415  only where it is used
        from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: PLC0415

        sentry_sdk.init(
            dsn=self.dsn,
            environment=self.environment,
            release=self.release,
            include_local_variables=False,
            max_breadcrumbs=0,  # they would be other jobs' lines
            before_send=_without_secrets,
            auto_enabling_integrations=False,
            disabled_integrations=[LoggingIntegration()],  # else each logged error is a second report
        )

    def ended(self, broker: Broker, message: Delivery) -> None:
        """Report a job that is dead, and an attempt that has failed where its actor asks for that."""
        outcome = message.outcome
        if self.dsn is None or outcome is None or outcome.verdict not in {"dead", "retried"}:
            return
        actor = broker.actors.get(message.actor_name)
        if outcome.verdict == "dead" or (actor is not None and actor.options.get(_ASKED)):
            _report(actor, message, outcome)


def _report(actor: Any, message: Delivery, outcome: Outcome) -> None:
    import sentry_sdk  # noqa: PLC0415  only where it is used

    with sentry_sdk.new_scope() as scope:
        scope.set_tag("actor", message.actor_name)
        scope.set_tag("queue", message.queue_name)
        scope.set_tag("reason", outcome.reason or outcome.verdict)
        if isinstance(actor, Actor):
            scope.set_tag("owner", actor.card.owner)
        alike = post_mortem.fingerprint(message.actor_name, outcome.reason, outcome.error)
        scope.set_tag("fingerprint", alike)  # the one that `dutiful dead-letters list --group` shows
        scope.fingerprint = [alike]
        scope.set_context("job", {"message_id": message.message_id, "attempt": message.attempt})
        scope.capture_exception(outcome.error)


def _without_secrets(event: Any, _hint: Any) -> Any:
    for raised in event.get("exception", {}).get("values", []):
        raised["value"] = masked_text(raised.get("value") or "")
    return event
