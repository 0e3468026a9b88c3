"""Shows how the demo goes: a live bar on a terminal, plain lines anywhere else."""

import time
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.demo.checks import Check
from deploy.demo.observer import Sight

PLAIN_SECONDS = 2.0  # between plain lines


class Display:
    """Everything the demo says goes through here."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = self.told = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        self.line(f"[dim]{time.monotonic() - self.started:6.1f} s[/dim]  {text}")

    def line(self, text: str) -> None:
        """Print a line as it is; long ones are the terminal's to break, so that they can be copied and searched."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def importing(self, records: int) -> "ImportBar":
        """Return what shows the import of so many records."""
        return ImportBar(self, records)

    def figures(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """Print the table of figures: what, how much, and where the figure comes from."""
        table = Table("figure", "value", "from", title="the import in figures", title_justify="left")
        table.columns[1].justify = "right"
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def checks(self, checks: Iterable[Check]) -> None:
        """Print every check; of one that does not hold, what was expected and what was found."""
        for check in checks:
            if check.holds:
                self.line(f"  [green]holds[/green]   {escape(check.what)}: {escape(check.expected)}")
            else:
                self.line(f"  [red bold]BROKEN[/red bold]  {escape(check.what)}")
                self.line(f"          expected: {escape(check.expected)}")
                self.line(f"          found:    {escape(check.found)}")


class ImportBar:
    """The import as it goes."""

    def __init__(self, display: Display, records: int) -> None:
        self.display, self.records = display, records
        self.live = ExitStack()
        self.bar = Progress(
            TextColumn("importing"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=display.console,
        )
        self.task = self.bar.add_task("import", total=records, detail="")

    def __enter__(self) -> Self:
        if self.display.console.is_terminal:
            self.live.enter_context(self.bar)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.close()

    def show(self, seen: Sight) -> None:
        """Show the newest look at the stack."""
        detail = f"{seen.posts:,} posts, {seen.rejections:,} rejected, {seen.waiting} messages"
        if self.display.console.is_terminal:
            self.bar.update(self.task, completed=seen.records, detail=detail)
        elif time.monotonic() - self.display.told > PLAIN_SECONDS:
            self.display.told = time.monotonic()
            self.display.say(f"{seen.records:,} of {self.records:,} records, {detail}")
