"""What a command writes: a table for people, one JSON document for programs."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]


def show(rows: Sequence[Mapping[str, Any]], *, as_json: bool, nothing: str) -> None:
    """Write rows that have the same columns.

    Parameters:
      rows: each by column.
      as_json: for programs.
      nothing: what people read when there are none.
    """
    if as_json:
        document(list(rows))
    elif not rows:
        sys.stdout.write(f"{nothing}\n")
    else:
        from rich.console import Console  # noqa: PLC0415  only what a command uses is loaded
        from rich.table import Table  # noqa: PLC0415

        table = Table(*rows[0], box=None, header_style="bold")
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        Console().print(table)


def progress() -> "Console":
    """Where a command says how it gets on: standard error."""
    from rich.console import Console  # noqa: PLC0415  as above

    return Console(stderr=True)


class Ticker:
    """One line that changes on a terminal, a line every few seconds elsewhere; both on standard error."""

    def __init__(self) -> None:
        self._console = progress()
        self._last = time.monotonic()

    def tick(self, line: Callable[[], str]) -> None:
        """How it stands, when that was last said a while ago."""
        if time.monotonic() - self._last < (0.2 if self._console.is_terminal else 5):
            return
        self._last = time.monotonic()
        self._console.print(line(), end="\r" if self._console.is_terminal else "\n", highlight=False)


def document(facts: Any) -> None:
    """Write facts for programs."""
    sys.stdout.write(json.dumps(facts, indent=2, default=str) + "\n")
