"""A key template says what makes two messages of one actor the same job."""

import re
import string
from collections.abc import Mapping
from typing import Any

from workers.errors import ConfigurationError, ContractError

_LONGEST = 255
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and half of a character


class KeyTemplate:
    """A template such as "{event.event_id}:{event.endpoint}", over the validated arguments.

    Parameters:
      actor_name: named in every error.
      template: names in braces are parameters, with dots for their attributes.
      parameters: the actor's parameter names.

    Raises:
      ConfigurationError: the template can't be read, or names something that isn't a parameter.
    """

    def __init__(self, actor_name: str, template: str, parameters: Mapping[str, Any]) -> None:
        self.actor_name = actor_name
        self.template = template
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        except ValueError as error:
            raise self._refusal(str(error)) from None
        unknown = [name for name in names if name.partition(".")[0].partition("[")[0] not in parameters]
        if unknown or not names:
            raise self._refusal(f"no parameter {', '.join(unknown) or 'at all'}")

    def __call__(self, arguments: Mapping[str, Any]) -> str:
        """The key of a job with these arguments.

        Raises:
          ContractError: an attribute is missing, or the key is empty or longer than 255 characters.
        """
        try:
            key = self.template.format(**arguments)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise self._unfit(f"{type(error).__name__}: {error}") from None
        return checked_key(self.actor_name, key)

    def _unfit(self, problem: str) -> ContractError:
        return ContractError(
            f"{self.actor_name} has no key for these arguments",
            expected=f"arguments that fill {self.template!r}",
            received=problem,
        )

    def _refusal(self, problem: str) -> ConfigurationError:
        return ConfigurationError(
            f"actor {self.actor_name} can't be declared: its key {self.template!r} can't work",
            expected="a template over its parameters, such as '{order_id}'",
            received=problem,
        )


def checked_key(actor_name: str, key: object) -> str:
    """The key, if it can be one.

    Raises:
      ContractError: it is no text, empty, too long, or has a character that a database refuses.
    """
    if not isinstance(key, str) or not 0 < len(key) <= _LONGEST or _UNSTORABLE.search(key):
        raise ContractError(
            f"{actor_name} has a key that can't be stored",
            expected=f"text of 1 to {_LONGEST} characters",
            received=f"{type(key).__name__} {str(key)[:40]!r}",
        )
    return key
