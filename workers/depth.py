"""The depth of arguments is limited, because readers of JSON in other languages give up at some depth too."""

from typing import Any, Final

from .errors import ContractError

DEEPEST: Final = 64


def refuse_too_deep(actor_name: str, value: Any) -> None:
    """Look at how deep lists and objects lie in each other.

    Raises:
      ContractError: deeper than 64, the arguments themselves included.
    """
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ContractError(
                f"the arguments of {actor_name} nest too deep",
                expected=f"at most {DEEPEST} lists and objects in each other",
                received="more",
            )
        level = [
            each
            for holder in level
            for each in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(each, dict | list | tuple) and each
        ]
