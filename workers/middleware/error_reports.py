"""ErrorReports sends one report to Sentry for each job that ended as a dead letter."""

from dramatiq import Broker, Middleware

from workers.delivery import Delivery


class ErrorReports(Middleware):
    """One report a job, not one an attempt; no arguments and no local variables in it.

    Parameters:
      dsn: where to; None: nothing is sent, and sentry-sdk isn't loaded.
      environment: development, staging or production.
    """

    def __init__(self, *, dsn: str | None, environment: str) -> None:
        self.dsn = dsn
        self.environment = environment

    def after_process_boot(self, broker: Broker) -> None:
        """Connect the worker process."""
        if self.dsn is None:
            return
        import sentry_sdk  # noqa: PLC0415  only where it is used
        from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: PLC0415

        sentry_sdk.init(
            dsn=self.dsn,
            environment=self.environment,
            send_default_pii=False,
            include_local_variables=False,
            auto_enabling_integrations=False,
            disabled_integrations=[LoggingIntegration()],  # else each logged error is a second report
        )

    def ended(self, broker: Broker, message: Delivery) -> None:
        """Report a job that is dead."""
        outcome = message.outcome
        if self.dsn is None or outcome is None or outcome.verdict != "dead":
            return
        import sentry_sdk  # noqa: PLC0415  only where it is used

        with sentry_sdk.new_scope() as scope:
            scope.set_tag("actor", message.actor_name)
            scope.set_tag("queue", message.queue_name)
            scope.set_tag("reason", outcome.reason)
            scope.set_context("job", {"message_id": message.message_id, "attempt": message.attempt})
            scope.capture_exception(outcome.error)
