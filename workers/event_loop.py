"""An event loop must not wait: this tells whether the caller runs on one."""

import asyncio

from .errors import ConfigurationError


def is_event_loop() -> bool:
    """Whether this is one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def refuse_to_block_an_event_loop() -> None:
    """Waiting for a confirm on an event loop would stop every other task of it.

    Raises:
      ConfigurationError: this is an event loop.
    """
    if is_event_loop():
        raise ConfigurationError(
            "a message can't be sent like this on an event loop: waiting for the confirm would stop every other task",
            expected="await actor.send_async(…) or await actor.send_with_options_async(…)",
            received="send() or send_with_options()",
        )
