"""`dutiful doctor` as operators type it, without a RabbitMQ: what each line says, and how what it names is mended."""

import json
import re

import pytest

from tests.shell import Shell, is_for_a_shell

JOBS = """
import dramatiq
from workers.broker import setup_broker

setup_broker()


@dramatiq.actor(actor_name="plain", queue_name="clinic", hard_time_limit=LIMIT)
def plain(n: int = 0) -> None:
    pass
"""
TIMETABLE = """
from actors import sitemap
from scheduling.cron import Cron
from scheduling.schedule import Schedule

import clinic

clinic.plain.broker.declare_actor(sitemap.build)
TIMETABLE = (Schedule("nightly", sitemap.build, Cron("* * * * *"), {"ARGUMENT": "x"}, owner="tests"),)
"""


@pytest.fixture
def shell(tmp_path):
    return Shell({"PYTHONPATH": str(tmp_path), "DUTIFUL_RABBITMQ__URL": "memory://"}, tmp_path)


@pytest.fixture
def doctor(shell):
    """Run it: the exit status, and its lines. What is to be pasted can be."""

    def run(*words):
        status, said = shell.dutiful("doctor", *words, "--json")
        lines = json.loads(said)
        assert all(line["verdict"] == "ok" or is_for_a_shell(line["mend"]) for line in lines), lines
        return status, lines

    return run


def facts(line):
    return line["what"], line["expected"], line["received"]


def test_a_setting_that_can_t_be_used_is_one_line_and_right_once_what_it_names_is_unset(doctor, shell, tmp_path):
    mistakes = (
        (
            {"DUTIFUL_STORE__ULR": "sqlite:///x.db"},
            "there is no setting DUTIFUL_STORE__ULR",
            "a name such as DUTIFUL_STORE__URL",
        ),
        (
            {"DUTIFUL_LOGS__LEVEL": "LOUD", "DUTIFUL_METRICS__PORT": "-1"},
            (
                "settings can't be used: DUTIFUL_METRICS__PORT: Input should be greater than or equal to 0; "
                "DUTIFUL_LOGS__LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"
            ),
            "the values that .env.example describes",
        ),
        (
            {"DUTIFUL_REVISION_FILE": f"{tmp_path}/none"},
            "DUTIFUL_REVISION_FILE names a file that can't be read",
            "a text file",
        ),
    )
    for told, what, expected in mistakes:
        shell.environment |= told

        status, (line,) = doctor()

        assert status == 1
        assert (line["check"], line["verdict"]) == ("settings", "wrong")
        assert facts(line)[:2] == (what, expected)
        assert line["mend"] == "# unset or correct what it names: .env.example has every variable"
        for name in re.findall(r"DUTIFUL_\w+", what):
            shell.paste(f"unset {name}")
    shell.environment |= {"DUTIFUL_REVISION": "a", "DUTIFUL_REVISION_FILE": "b"}
    _, (line,) = doctor()
    assert facts(line)[:2] == ("DUTIFUL_REVISION and DUTIFUL_REVISION_FILE are both set", "one of the two")
    shell.paste(f"unset {line['what'].split()[2]}")

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


def test_jobs_that_can_t_be_imported_are_one_line_until_what_it_names_is_corrected(doctor, tmp_path):
    declared = JOBS.replace("@dramatiq", "from workers import actor\n@actor(owner='t', expects='e', rollback='r')\n#")
    mistakes = {
        "clinic can't be imported": None,
        "the package clinic can't be imported": "1 / 0\n",
        "actor plain can't be declared: RabbitMQ would give its job to somebody else while it runs": declared.replace(
            "expects", "hard_time_limit=1_790_000, expects"
        ),
    }
    for what, text in mistakes.items():
        if text is not None:
            (tmp_path / "clinic.py").write_text(text)
        status, (line,) = doctor("clinic")
        assert status == 1
        assert (line["check"], line["verdict"], line["mend"]) == ("jobs", "wrong", "# correct what it names")
        assert line["what"] == what
        if text == "1 / 0\n":
            assert line["received"] == "ZeroDivisionError: division by zero"
    (tmp_path / "clinic.py").write_text(declared)

    _, lines = doctor("clinic")

    assert "jobs" not in {line["check"] for line in lines}
    assert next(line for line in lines if line["check"] == "contracts")["what"] == "1 actors"


def test_a_site_in_which_all_is_wrong_is_well_when_every_line_was_obeyed(doctor, shell, tmp_path):
    site = tmp_path / "clinic"
    site.mkdir()
    (site / "__init__.py").write_text(JOBS.replace("LIMIT", "1_790_000"))
    (site / "timetable.py").write_text(TIMETABLE.replace("ARGUMENT", "raison"))
    (tmp_path / "file").touch()
    shell.environment |= {
        "DUTIFUL_METRICS__HOST": "0.0.0.0",
        "DUTIFUL_METRICS__DIRECTORY": f"{tmp_path}/file/counters",
        "DUTIFUL_STORE__URL": "postgresql+psycopg://u:p@127.0.0.1:9/x",
        "DUTIFUL_STORE__KEY_TTL_SECONDS": "3600",
    }

    status, lines = doctor("clinic", "--schedules", "clinic")

    assert status == 1
    found = {line["check"]: line for line in lines if line["verdict"] == "wrong"}
    assert {check: facts(line)[0] for check, line in found.items()} == {
        "exposure": "whoever reaches this host can read /metrics",
        "time limits": "actor plain can't be declared: RabbitMQ would give its job to somebody else while it runs",
        "timetable": "the schedule 'nightly' can't work",
        "metrics directory": "counters can't be left there, so that no worker would start",
        "store schema": "the store's schema could not be read",
        "clocks": "a transaction could not begin",
        "keys": "the key of a job that has ended may be gone before the last copy of its message comes",
    }
    assert (
        found["store schema"]["mend"] == found["clocks"]["mend"] == ("# start the store, or correct DUTIFUL_STORE__URL")
    )
    assert found["time limits"]["mend"] == "# give plain shorter limits, or checkpoints"
    for check in ("exposure", "metrics directory", "keys"):
        shell.paste(found[check]["mend"])
    shell.paste(f"export {found['clocks']['mend'].split()[-1]}=sqlite:///{tmp_path}/store.db")
    (tmp_path / found["timetable"]["mend"].removeprefix("# edit ")).write_text(TIMETABLE.replace("ARGUMENT", "reason"))
    (site / "__init__.py").write_text(JOBS.replace("LIMIT", "60_000"))

    _, lines = doctor("clinic", "--schedules", "clinic")

    behind = [line for line in lines if line["verdict"] == "wrong"]
    assert [(facts(line)[0], line["mend"]) for line in behind] == [
        ("the tables of dutiful are behind", "dutiful store migrate clinic"),
        ("the tables of actors are behind", "dutiful store migrate actors"),
    ]
    for line in behind:
        shell.paste(line["mend"])
    status, lines = doctor("clinic", "--schedules", "clinic")
    assert status == 0
    assert {line["check"] for line in lines if line["verdict"] != "ok"} == {"rabbitmq"}
