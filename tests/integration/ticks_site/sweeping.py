"""A site whose one job leaves its key in the file that LEDGER names."""

import os
from pathlib import Path

from workers import actor, current_job
from workers.broker import setup_broker

setup_broker()


@actor(actor_name="site.sweep", queue_name="sweeping", owner="tests", expects="a line in the ledger", rollback="none")
def sweep() -> None:
    with Path(os.environ["LEDGER"]).open("a") as ledger:
        ledger.write(f"{current_job().key}\n")
