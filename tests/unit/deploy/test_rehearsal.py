"""A rehearsal notices what a release costs, and builds releases that differ in what it says."""

import pytest
from alembic.script import ScriptDirectory

from deploy.rehearsal import ledger
from deploy.rehearsal.build import MIGRATIONS, build, changed, point
from deploy.rehearsal.ledger import Entry, Published
from deploy.rehearsal.options import BREAKS, read
from deploy.rehearsal.report import Report
from deploy.rehearsal.run import NEXT, NOW, OVERLAYS
from deploy.rehearsal.site import is_fine

PUBLISHED = Published(enter=range(3), follow=[1], linger=[1_000_000])
FOUND = [Entry("enter", n, 0.0, 1.0 + n) for n in range(3)]
FOUND += [Entry("follow", 1, 0.0, 1.0), Entry("linger", 1_000_000, 0.0, 5.0)]
KEPT = [("rehearsal.enter", str(n), "done", 1) for n in range(3)]


def broken(found=FOUND, kept=KEPT, dead=None, left=None):
    checks = ledger.checks(PUBLISHED, found, kept, dead or {"rehearsal.XQ": 0}, left or {"rehearsal": 0})
    return {check.what: check.found for check in checks if not check.holds}


def test_nothing_is_wrong_when_each_job_has_had_its_effect_once():
    assert broken() == {}


@pytest.mark.parametrize(
    ("fault", "noticed", "named"),
    [
        ({"found": FOUND[1:]}, "no job was lost", "enter 0"),
        ({"found": FOUND[:3] + FOUND[4:]}, "no job was lost", "follow 1"),
        ({"found": [*FOUND, FOUND[0]]}, "no job was doubled", "enter 0"),
        ({"found": [*FOUND, Entry("enter", 7, 0.0, 1.0)]}, "nothing ran that nobody asked for", "enter 7"),
        ({"kept": [("rehearsal.enter", "0", "running", 1)]}, "every job is done", "running"),
        ({"kept": [("rehearsal.enter", "0", "done", 2)]}, "no job was charged an attempt", "attempt 2"),
        ({"dead": {"site.XQ": 1}}, "there is no dead letter", "1 in site.XQ"),
        ({"left": {"rehearsal": 4}}, "no message is left", "4 in rehearsal"),
    ],
)
def test_what_a_release_has_cost_is_noticed_and_named(fault, noticed, named):
    found = broken(**fault)

    assert list(found) == [noticed]
    assert named in found[noticed]


def test_a_rehearsal_without_any_check_has_not_passed():
    assert not Report().passed


def answer(verdict="fine", says=("waiting: nothing", "running here: 0.1.0 next")):
    return {"verdict": verdict, "answers": [{"question": "?", "verdict": verdict, "says": list(says)}]}


def test_an_answer_is_fine_when_the_workers_say_that_they_are_the_release():
    assert is_fine(answer(), NEXT)
    assert not is_fine(answer(), NOW)
    assert not is_fine(answer(verdict="degraded"), NEXT)
    assert not is_fine(answer(says=["waiting: nothing"]), NEXT), "the workers were silent"
    assert not is_fine(answer(verdict="degraded", says=["running here: 0.1.0 next, 0.1.0 now"]), NOW)


def test_waits_are_those_of_the_short_jobs_that_were_sent_meanwhile():
    assert ledger.waits(FOUND, 0.0, 1.0) == (2.0, 2.0, 3.0)
    assert ledger.waits(FOUND, 1.0, 2.0) is None


def test_the_next_release_has_a_migration_more_in_each_set_and_another_contract(tmp_path):
    digests = {name: build(tmp_path / name, name, overlays) for name, overlays in OVERLAYS.items()}

    assert digests[NOW] != digests[NEXT]
    assert "actors/rehearsal.py" in changed(tmp_path / NOW, tmp_path / NEXT)
    for place in MIGRATIONS:
        now, later = (ScriptDirectory(tmp_path / name / place) for name in (NOW, NEXT))
        assert later.get_revision(later.get_current_head()).down_revision == now.get_current_head()
    assert (tmp_path / NEXT / "REVISION").read_text() == NEXT


def test_a_link_leads_from_one_release_to_the_other(tmp_path):
    for name in (NOW, NEXT):
        (tmp_path / name).mkdir()
        point(tmp_path / "current/worker", tmp_path / name)
        assert (tmp_path / "current/worker").resolve() == tmp_path / name


@pytest.mark.parametrize(("name", "value"), [("RATE", "0"), ("RATE", "fast"), ("SECONDS", "-1"), ("BREAK", "all")])
def test_an_option_that_can_not_be_used_is_refused_and_named(name, value):
    with pytest.raises(ValueError, match=name) as refusal:
        read({name: value})
    assert value in str(refusal.value)


def test_what_is_broken_on_purpose_is_there():
    assert read({"BREAK": BREAKS[0], "RATE": ""}).sabotage == BREAKS[0]
