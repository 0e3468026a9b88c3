"""Every key has exactly one effect, whatever is killed; without transaction(), each double names the kill behind it.

Short form: 240 keys of each kind and four kills. `PROOF=1` makes it 10,000 and thirty; `SEED=` chooses other moments.
"""

import os
import random
import threading
import time
from collections import Counter

import pytest
from ledger import Bank, answers, wait_for_end
from processes import until

pytestmark = [pytest.mark.broker, pytest.mark.long]

PROOF = bool(os.environ.get("PROOF"))
SEED = int(os.environ.get("SEED") or 20261122)
KEYS, KILLS, RESTARTS = (10_000, 30, 5) if PROOF else (240, 4, 1)
WORKERS = 2


@pytest.fixture(params=["postgres", "sqlite"])
def bank(request, rabbitmq, stack, tmp_path):
    server = stack(services=["postgres"]) if request.param == "postgres" else None
    store = server.environment["DUTIFUL_STORE__URL"] if server else f"sqlite:///{tmp_path}/store.db"
    bank = Bank(rabbitmq, store, tmp_path)
    bank.server = server
    yield bank
    bank.close()


def copies(chance, numbers):
    """Each key one to three times, of both kinds, in any order."""
    found = [(kind, n) for n in numbers for kind in ("safe", "bare") for _ in range(chance.randint(1, 3))]
    chance.shuffle(found)
    return found


def strike(bank, blow, chance):
    """One blow; what was killed is started again."""
    if blow == "restart":
        bank.server.kill("postgres")
        until(lambda: answers(bank), 60, what="PostgreSQL did not come back")
        return
    place = chance.randrange(WORKERS)
    bank.kill(bank.pair[place])
    bank.pair[place] = bank.start()


@pytest.mark.timeout(3000 if PROOF else 600)
def test_every_key_has_one_effect_whatever_is_killed(bank):
    chance = random.Random(SEED)
    blows = ["kill"] * KILLS + ["restart"] * (RESTARTS if bank.server is not None else 0)
    chance.shuffle(blows)
    bank.pair = [bank.start() for _ in range(WORKERS)]
    published = []
    for place, blow in enumerate(blows):
        part = copies(chance, range(place * KEYS // len(blows), (place + 1) * KEYS // len(blows)))
        published += part
        before = bank.ended()
        publishing = threading.Thread(target=bank.publish, args=(part,))
        publishing.start()
        until(lambda before=before: bank.ended() > before, what=f"nothing went on: {bank.state()}")
        time.sleep(chance.uniform(0, 0.5))
        strike(bank, blow, chance)
        publishing.join()
    wait_for_end(bank, 2 * KEYS, 300 if PROOF else 60)

    rows = bank.rows("SELECT kind, n, command, attempt FROM effects ORDER BY at")
    effects = Counter((row.kind, row.n) for row in rows)
    assert set(effects) == set(published), "a key has no effect"
    assert {name for name, count in effects.items() if name[0] == "safe" and count > 1} == set()
    doubles = {
        name: [row.command for row in rows if (row.kind, row.n) == name] for name, count in effects.items() if count > 1
    }
    unexplained = {name: done_by for name, done_by in doubles.items() if not set(done_by[:-1]) <= bank.killed}
    assert {row.attempt for row in rows} == {1}, f"a kill or an outage was charged to a job: {bank.troubles()}"
    assert unexplained == {}, f"doubled, and nobody was killed in between; killed: {bank.killed}; {bank.troubles()}"
    assert bank.queue.dead() == []
    report = f"{len(published)} messages for {2 * KEYS} keys, {Counter(blows)}, seed {SEED}, {bank.engine.dialect.name}"
    died = sum(len(done_by) - 1 for done_by in doubles.values())
    print(f"{report}: doubled with transaction() 0; without, died between effect and mark {died}, other 0")  # noqa: T201
