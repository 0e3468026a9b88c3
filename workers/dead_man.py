"""The dead-man ends a process that Python can't end: a thread of C that nobody's hold on the GIL keeps waiting."""

import faulthandler
import math
import time
from typing import Final

_STDERR: Final = 2
# The watch, which is Python, comes first where it can.
_MARGIN_SECONDS: Final = 2.0


class DeadMan:
    """Writes every thread's stack to stderr and ends the process with status 1, unless it is set anew in time."""

    def __init__(self) -> None:
        self.due = math.inf

    def set(self, due: float) -> None:
        """Let it fire shortly after this moment of the monotonic clock; infinity: never."""
        self.due = due
        if due == math.inf:
            faulthandler.cancel_dump_traceback_later()
        else:
            left = max(0.0, due - time.monotonic()) + _MARGIN_SECONDS
            faulthandler.dump_traceback_later(left, exit=True, file=_STDERR)
