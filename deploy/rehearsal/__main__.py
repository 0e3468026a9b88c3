"""Rehearses a release on the local stack, and says what it has cost: `make rehearse`.

RATE=100      jobs a second                SECONDS=15       how long each release works before the next step
BREAK=broken  a next release that must not get through, and see that it is refused
"""

import os
import signal
import sys
from typing import NoReturn

from deploy.local import Stack
from deploy.local.folders import CHECKOUT
from deploy.rehearsal.options import read
from deploy.rehearsal.run import Rehearsal

FOLDER = CHECKOUT / ".run" / "rehearsal"
FINE, WRONG, USAGE = 0, 1, 2


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)  # noqa: T201  it speaks to a person


def stopped(number: int, _frame: object) -> NoReturn:
    """End as Ctrl-C does, so that whatever was started is stopped."""
    raise SystemExit(128 + number)


def main() -> int:
    """Rehearse once; the stack is gone afterwards, the report stays."""
    try:
        options = read(os.environ)
    except ValueError as error:
        say(f"rehearsal: {error}")
        return USAGE
    if Stack(FOLDER / "stack").is_running:
        say(f"rehearsal: one runs already in {FOLDER}. Nothing was started")
        return WRONG
    signal.signal(signal.SIGTERM, stopped)
    try:
        report = Rehearsal(FOLDER, options, say).run()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    say("")
    for line in report.lines():
        say(line)
    say(f"\n{FOLDER / 'report.json'}")
    return FINE if report.passed else WRONG


if __name__ == "__main__":
    sys.exit(main())
