"""One queue of short and long jobs; each leaves who ran it, and when it began and ended."""

import os
import threading
import time

from shop import CARD, actor, write


# Declared short on a wish, although it isn't: a test shows what that costs.
@actor(**CARD | {"queue_name": "mixed"}, key=None, short="MIXED_IS_SHORT" in os.environ)
def timed(n: int, seconds: float) -> None:
    began = time.monotonic()
    time.sleep(seconds)
    write(f"{n} {os.getpid()} {threading.get_ident()} {began} {time.monotonic()}")
