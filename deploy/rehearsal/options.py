"""Reads what the person who rehearses wants."""

from collections.abc import Mapping
from dataclasses import dataclass

BREAKS = ("broken",)
"""Folders that make the next release one that must not get through."""


@dataclass(frozen=True)
class Options:
    """What the person who rehearses wants.

    Attributes:
      rate: jobs a second.
      seconds: how long each release works before the next step.
      sabotage: a folder of releases/ that is laid over the next release; empty: none.
    """

    rate: float = 100.0
    seconds: float = 15.0
    sabotage: str = ""


def read(environment: Mapping[str, str]) -> Options:
    """Read the options from the environment; make passes its variables there.

    Raises:
      ValueError: one of them can't be used; it says which, and what would be right.
    """
    numbers = {}
    for name, least, most in (("RATE", 1, 1000), ("SECONDS", 0, 3600)):
        given = environment.get(name, "") or str(int(getattr(Options, name.lower())))
        if not given.isdecimal() or not least <= int(given) <= most:
            raise ValueError(
                f"{name} is a whole number from {least} to {most}; received {given!r}. Nothing was started"
            )
        numbers[name.lower()] = float(given)
    sabotage = environment.get("BREAK", "")
    if sabotage and sabotage not in BREAKS:
        raise ValueError(f"BREAK is one of {', '.join(BREAKS)}; received {sabotage!r}. Nothing was started")
    return Options(numbers["rate"], numbers["seconds"], sabotage)
