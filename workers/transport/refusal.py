"""A refusal of RabbitMQ's, in words: what waiting can't mend is a mistake in the set-up."""

from typing import Final

from pika import exceptions as amqp

from workers.errors import ConfigurationError

_PRECONDITION_FAILED: Final = 406
_NOT_ALLOWED: Final = (403, 530)


def hopeless(error: BaseException) -> ConfigurationError | None:
    """What to mend, when trying again would never help; None when it may."""
    code = getattr(error, "reply_code", None)
    if code == _PRECONDITION_FAILED:
        return ConfigurationError(
            "a queue or exchange of that name exists with other arguments",
            expected="a vhost that dutiful alone uses: rabbitmqctl add_vhost NAME",
            received=str(getattr(error, "reply_text", error)),
        )
    if isinstance(error, (amqp.ProbableAuthenticationError, amqp.ProbableAccessDeniedError)) or code in _NOT_ALLOWED:
        return ConfigurationError(
            "RabbitMQ refuses this user or vhost",
            expected="DUTIFUL_RABBITMQ__URL with a user that may configure, write and read its vhost; "
            "a missing vhost is made with: rabbitmqctl add_vhost NAME",
            received=repr(error),
        )
    return None
