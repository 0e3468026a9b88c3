"""Masking hides what looks like a secret before a person or a program is shown it."""

import re
from collections.abc import Mapping
from typing import Any, Final

HIDDEN: Final = "[hidden]"
_NAMES: Final = (
    "password|passwd|passphrase|secret|token|authorization|api[_-]?key|access[_-]?key|private[_-]?key|cookie"
    "|credential|session[_-]?id|signature"
)
_SECRET_NAME: Final = re.compile(_NAMES, re.IGNORECASE)
# name=value, 'name': 'value', Authorization: Bearer value
_IN_TEXT: Final = re.compile(
    rf"(\w*(?:{_NAMES})\w*[\"']?\s*[=:]\s*)((?:bearer|basic)\s+)?(\"[^\"]*\"|'[^']*'|[^\s,;&)}}\]]+)", re.IGNORECASE
)
_IN_ADDRESS: Final = re.compile(r"(\w+://[^\s/:@]*:)[^\s/@]+@")
_DEEPEST: Final = 20


def masked(value: Any, depth: int = 0) -> Any:
    """A JSON value with every secret in it hidden.

    Parameters:
      value: anything that JSON can hold.
      depth: how deep it lies; what lies deeper than twenty is cut.
    """
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {
            name: HIDDEN if _SECRET_NAME.search(str(name)) else masked(each, depth + 1) for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(each, depth + 1) for each in value]
    return masked_text(value) if isinstance(value, str) else value


def masked_text(text: str) -> str:
    """A text with what looks like `password=…`, or like an address with a password, hidden."""
    return _IN_ADDRESS.sub(rf"\1{HIDDEN}@", _IN_TEXT.sub(rf"\1{HIDDEN}", text))
