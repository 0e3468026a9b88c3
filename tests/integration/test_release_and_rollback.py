"""A release runs on the next one's schema; migrate, deploy and roll back under load cost no job anything.

Short form: 40 jobs a second, and each release works until some jobs are done. `PROOF=1` makes it 300 for a minute.
"""

import os
import shutil
import threading
import time
from collections import Counter

import pytest
from ledger import Bank, wait_for_end
from processes import until

from workers.store import migrate

pytestmark = [pytest.mark.broker, pytest.mark.long]

PROOF = bool(os.environ.get("PROOF"))
JOBS_A_SECOND = 300 if PROOF else 40
PART = 10
STEP_SECONDS = 8 if PROOF else 0
NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade():
    op.add_column("dutiful_keys", sa.Column("remark", sa.Text))
    op.create_table("dutiful_remarks", sa.Column("n", sa.Integer, primary_key=True))
"""


class Load:
    """Publishes jobs at a steady rate until it is stopped."""

    def __init__(self, bank):
        self.bank = bank
        self.published = 0
        self.seconds = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._publish)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _publish(self):
        began = time.monotonic()
        while not self._over.is_set():
            self.bank.publish(("safe", n) for n in range(self.published, self.published + PART))
            self.published += PART
            self.seconds = time.monotonic() - began
            self._over.wait(max(0.0, self.published / JOBS_A_SECOND - self.seconds))


@pytest.fixture
def bank(rabbitmq, postgres, tmp_path):
    bank = Bank(rabbitmq, postgres, tmp_path)
    yield bank
    bank.close()


@pytest.fixture
def next_migrations(tmp_path):
    """This release's migrations, and one more that only adds."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrate._OURS, folder)
    head = max(path.name[:4] for path in (folder / "versions").glob("[0-9]*.py"))
    (folder / "versions" / "9999_next.py").write_text(NEXT.format(head=head))
    return folder


def deploy(bank, running, module, **environment):
    """Replace each command by one of another release, one after the other; each stops in good order."""
    for place, worker in enumerate(running):
        assert worker.stop()[0] == 0, worker.text()[-2000:]
        running[place] = bank.start(module=module, **environment)
        done(bank)


def done(bank):
    """Some jobs are, since now; the long form lets many more come and go."""
    before = bank.ended()
    until(lambda: bank.ended() > before + PART, what=f"the jobs stand still: {bank.state()}")
    time.sleep(STEP_SECONDS)


@pytest.mark.timeout(600)
def test_migrating_deploying_and_rolling_back_under_load_costs_nothing(bank, next_migrations, monkeypatch):
    running = [bank.start(), bank.start()]
    with Load(bank) as load:
        done(bank)
        with monkeypatch.context() as next_release:
            next_release.setattr(migrate, "_OURS", next_migrations)
            migrate.migrate(bank.engine, package=None)
        done(bank)  # this release, which has not restarted, on the next schema
        assert migrate.status(bank.engine, package=None)[0].current == "9999"
        deploy(bank, running, "bank_next", BANK_MIGRATIONS=str(next_migrations))
        done(bank)
        remarks = bank.scalar("SELECT count(*) FROM dutiful_remarks")
        deploy(bank, running, "bank")  # back, and it starts on a schema that it doesn't know
        migrate.migrate(bank.engine, package=None)  # which it leaves alone
        done(bank)
    wait_for_end(bank, load.published, 60)

    assert migrate.status(bank.engine, package=None)[0].current == "9999"
    effects = Counter(n for (n,) in bank.rows("SELECT n FROM effects"))
    assert effects == Counter(range(load.published)), "lost, or doubled"
    assert bank.rows("SELECT DISTINCT state, attempt FROM dutiful_keys") == [("done", 1)], "an attempt was charged"
    assert bank.queue.dead() == []
    assert 0 < remarks < load.published, "the next release has not worked"
    assert bank.scalar("SELECT count(*) FROM dutiful_keys WHERE remark = 'next'") >= remarks
    assert bank.events("job_retried") == []
    rate = load.published / load.seconds
    print(f"{load.published} jobs at {rate:.0f}/s, {remarks} or more of them by the next release")  # noqa: T201
