"""`dutiful doctor` as operators type it, where there is nothing to look at yet."""

import json

import pytest

from tests.commands import dutiful, unset


@pytest.fixture
def doctor(tmp_path):
    """Run it without a broker: the exit status, and its lines."""
    told = {"PYTHONPATH": str(tmp_path), "DUTIFUL_RABBITMQ__URL": "memory://"}

    def run(*words, **more):
        done = dutiful("doctor", *words, "--json", environment=unset() | told | more, folder=tmp_path)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def test_a_setting_that_can_t_be_used_is_one_line_and_right_once_it_is_unset(doctor):
    status, (line,) = doctor(DUTIFUL_STORE__ULR="sqlite:///x.db")

    assert status == 1
    assert (line["check"], line["verdict"]) == ("settings", "wrong")
    assert line["what"] == "there is no setting DUTIFUL_STORE__ULR"
    assert line["expected"] == "a name such as DUTIFUL_STORE__URL"
    assert line["mend"].startswith("unset or correct the variable")

    _, lines = doctor()

    assert lines[0] == {
        "check": "settings",
        "verdict": "ok",
        "what": "development",
        "expected": "",
        "received": "",
        "mend": "",
    }
    unknown = [line for line in lines if line["verdict"] == "unknown"]
    assert [line["check"] for line in unknown] == ["rabbitmq"]
    assert unknown[0]["what"] == "a broker in memory has no queues"


def test_jobs_that_can_t_be_imported_are_one_line(doctor, tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0\n")

    absent, (nowhere,) = doctor("nowhere")
    broken, (line,) = doctor("broken")

    assert (absent, broken) == (1, 1)
    assert nowhere["what"] == "nowhere can't be imported"
    assert line["check"] == "jobs"
    assert line["what"] == "the package broken can't be imported"
    assert line["received"] == "ZeroDivisionError: division by zero"
