"""`dutiful` as operators type it: what it answers, what it refuses, and with which exit status."""

import json
import socket
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import typer
from typer.testing import CliRunner

from tests import commands
from tests.commands import unset
from workers.cli import app
from workers.reaching import SECONDS

NO_BROKER = "amqp://guest:guest@127.0.0.1:1/dutiful"
READS_AND_SAYS_SECONDS = (
    20  # what a command itself may take where the machine is very busy; the words say what was waited for
)


@pytest.fixture
def dutiful(tmp_path):
    """Run the command in a process of its own, with an empty store and no broker: dutiful("actors", "list")."""
    defaults = {"DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db", "DUTIFUL_RABBITMQ__URL": NO_BROKER}

    def run(*arguments, timeout=60, **more):
        environment = unset() | {"PYTHONPATH": str(tmp_path)} | defaults | more
        return commands.dutiful(*arguments, environment=environment, timeout=timeout)

    return run


@pytest.mark.parametrize("asked", ["the commands", "the status"])
def test_only_what_a_command_uses_is_loaded(asked, tmp_path):
    code = {"the commands": "import workers.cli", "the status": "import actors, workers.cli, workers.situation"}[asked]
    heavy = {"rich", "structlog", "prometheus_client", "sentry_sdk", "alembic", "httpx", "fastapi", "psycopg"}
    heavy |= {"dramatiq", "sqlalchemy", "pika", "pydantic"} if asked == "the commands" else set()
    said = subprocess.run(
        [sys.executable, "-c", f"{code}, sys; print(*sys.modules)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert heavy & set(said.stdout.split()) == set()


def every_command(group, *above):
    """Every command and group, as the words that people type."""
    yield above
    for name, command in getattr(group, "commands", {}).items():
        yield from every_command(command, *above, name)


@pytest.mark.parametrize("words", list(every_command(typer.main.get_command(app))), ids=" ".join)
def test_every_command_explains_itself(words):
    answer = CliRunner().invoke(app, [*words, "--help"])

    assert answer.exit_code == 0
    assert answer.output.count("Usage:") == 1
    assert "Show this message and" in answer.output, "a narrow screen breaks the line"


def test_actors_are_listed_with_queue_key_and_owner(dutiful):
    answer = dutiful("actors", "list", "--json")

    actors = {each["actor"]: each for each in json.loads(answer.stdout)}
    assert answer.returncode == 0
    assert actors["content.import_batch"] == {
        "actor": "content.import_batch",
        "queue": "content",
        "key": "{feed}:{number}",
        "owner": "content",
        "paused": None,  # the store has no tables yet
    }
    table = dutiful("actors", "list").stdout
    assert all(name in table for name in actors)


def test_one_actor_is_shown_with_its_card_its_arguments_and_its_limits(dutiful):
    answer = dutiful("actors", "show", "content.import_batch", "--json")

    shown = json.loads(answer.stdout)
    assert answer.returncode == 0
    assert shown["arguments"].startswith("(feed: ")
    assert shown["owner"] == "content"
    assert shown["expects"]
    assert shown["rollback"]
    assert shown["options"]["time_limit"] == "120000"
    text = dutiful("actors", "show", "content.import_batch").stdout
    assert f"expects:   {shown['expects']}\n" in text


def test_a_plain_dramatiq_actor_is_listed_as_having_no_card(dutiful, tmp_path):
    (tmp_path / "plain.py").write_text(
        "import dramatiq\n"
        "from workers.broker import setup_broker\n"
        "setup_broker()\n"
        "@dramatiq.actor\n"
        "def plain(n): pass\n"
    )

    (listed,) = json.loads(dutiful("actors", "list", "plain", "--json").stdout)
    shown = dutiful("actors", "show", "plain", "plain")

    assert listed == {"actor": "plain", "queue": "default", "key": "the message id", "owner": "no card", "paused": None}
    assert shown.returncode == 0
    assert "owner:     not said" in shown.stdout


def test_an_unknown_actor_is_refused_with_the_four_parts(dutiful):
    answer = dutiful("actors", "show", "content.import_bath")

    assert answer.returncode == 1
    assert answer.stdout == ""
    assert the_line(answer).startswith("dutiful: there is no actor content.import_bath; expected one of ")
    assert "received content.import_bath; safe to try again: no" in the_line(answer)


@pytest.mark.parametrize("words", [["actor"], ["actors", "lst"], ["actors", "show"], ["actors", "list", "--jsn"]])
def test_wrong_usage_is_status_2(dutiful, words):
    answer = dutiful(*words)

    assert answer.returncode == 2
    assert "Usage: dutiful" in answer.stderr


def test_a_package_that_is_not_there_is_named(dutiful):
    for words in (["actors", "list"], ["store", "migrate"]):
        answer = dutiful(*words, "actorz")

        assert answer.returncode == 1
        assert "actorz" in the_line(answer)


@pytest.mark.parametrize("url", [NO_BROKER, "amqp://guest:guest@host.invalid:5672/dutiful"])
def test_a_broker_that_is_away_is_one_clear_line(dutiful, url):
    lines = set()
    for verb in ("list", "declare", "verify"):
        answer = dutiful("queues", verb, DUTIFUL_RABBITMQ__URL=url, timeout=READS_AND_SAYS_SECONDS)
        assert (answer.returncode, answer.stdout) == (1, "")
        lines.add(the_line(answer))

    (line,) = lines
    assert line.startswith("dutiful: RabbitMQ can't be reached; expected a broker at DUTIFUL_RABBITMQ__URL; received ")
    assert ("gaierror" if "invalid" in url else "Connection refused") in line
    assert line.endswith("safe to try again: yes")


def test_a_broker_that_is_frozen_is_waited_for_no_longer_than_is_said(dutiful):
    with socket.create_server(("127.0.0.1", 0)) as frozen, ThreadPoolExecutor() as pool:
        told = {
            "DUTIFUL_RABBITMQ__URL": f"amqp://guest:guest@127.0.0.1:{frozen.getsockname()[1]}/dutiful",
            "DUTIFUL_RABBITMQ__CONNECT_TIMEOUT_SECONDS": "60",
        }

        def run(words):
            return dutiful(*words, **told, timeout=SECONDS + READS_AND_SAYS_SECONDS)

        asked = [("queues", "list"), ("queues", "declare"), ("doctor",)]
        *answers, doctor = list(pool.map(run, asked))  # all at once: they wait

    assert (doctor.returncode, doctor.stderr) == (1, "")
    assert (
        f"RabbitMQ can't be reached; expected a broker at DUTIFUL_RABBITMQ__URL; received no answer in {SECONDS:.0f} s"
        in (doctor.stdout)
    )
    for answer in answers:
        assert answer.returncode == 1
        assert the_line(answer).startswith("dutiful: RabbitMQ can't be reached; expected a broker at DUTIFUL_RABBITMQ_")
        assert f"no answer in {SECONDS:.0f} s" in the_line(answer)


def test_a_broker_in_memory_has_no_queues_to_show(dutiful):
    answer = dutiful("queues", "list", DUTIFUL_RABBITMQ__URL="memory://")

    assert answer.returncode == 1
    assert "DUTIFUL_RABBITMQ__URL" in the_line(answer)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DUTIFUL_STOR__URL", "sqlite:///x", "DUTIFUL_STORE__URL"),
        ("DUTIFUL_LOGS__LEVEL", "LOUD", "DUTIFUL_LOGS__LEVEL"),
        ("DUTIFUL_RABBITMQ__URL", "http://127.0.0.1", "DUTIFUL_RABBITMQ__URL"),
        ("DUTIFUL_RABBITMQ__URL", "amqp://user:hidden/word@127.0.0.1:5672/vhost", "DUTIFUL_RABBITMQ__URL"),
        ("DUTIFUL_STORE__URL", "mysql://u:hidden@host/x", "postgresql+psycopg://"),
        ("DUTIFUL_STORE__URL", "nonsense", "postgresql+psycopg://"),
    ],
)
def test_a_setting_that_can_not_work_is_one_clear_line(dutiful, variable, value, said):
    answer = dutiful("actors", "list", **{variable: value})

    assert answer.returncode == 1
    assert said in the_line(answer)
    assert "hidden" not in the_line(answer)


def test_a_store_on_sqlite_is_behind_then_migrated_then_up_to_date(dutiful):
    behind = dutiful("store", "status", "--json")
    migrated = dutiful("store", "migrate")
    again = dutiful("store", "migrate")
    status = dutiful("store", "status", "--json")

    assert behind.returncode == 1
    assert {each["at"] for each in json.loads(behind.stdout)["schema"]} == {None}
    assert migrated.returncode == again.returncode == status.returncode == 0
    facts = json.loads(status.stdout)
    assert [each["tables"] for each in facts["schema"]] == ["dutiful", "actors"]
    assert all(each["at"] == each["newest"] for each in facts["schema"])
    assert json.loads(behind.stdout)["identity"] is None
    assert f"store: {facts['identity']}" in dutiful("store", "status").stdout


def test_a_database_that_is_away_is_one_clear_line_without_its_password(dutiful):
    answer = dutiful("store", "status", DUTIFUL_STORE__URL="postgresql+psycopg://someone:hidden@127.0.0.1:1/jobs")

    assert answer.returncode == 1
    assert the_line(answer).endswith("safe to try again: yes")
    assert "hidden" not in the_line(answer)


def the_line(answer):
    """What it said: one line, and no traceback."""
    assert answer.stderr.count("\n") == 1, answer.stderr
    return answer.stderr.rstrip("\n")


def test_the_outbox_of_a_service_is_made_counted_and_relayed(dutiful, tmp_path):
    url = f"sqlite:///{tmp_path}/shop.db"
    refused = dutiful("outbox", "relay", "--url", url, "--once")
    assert refused.returncode == 1
    assert "dutiful outbox init" in refused.stderr

    assert dutiful("outbox", "init", "--url", url).returncode == 0
    assert dutiful("outbox", "init", "--url", url).returncode == 0
    status = dutiful("outbox", "status", "--url", url, "--json")
    assert status.returncode == 0
    assert json.loads(status.stdout) == {"waiting": 0, "oldest_seconds": 0, "set_aside": 0}
    relayed = dutiful("outbox", "relay", "--url", url, "--once")
    assert (relayed.returncode, relayed.stdout) == (0, "relayed 0, set aside 0, not taken 0\n")


def test_the_exit_status_tells_of_rows_that_were_set_aside(dutiful, tmp_path):
    dutiful("outbox", "init")
    with sqlite3.connect(tmp_path / "store.db") as store:
        store.execute("INSERT INTO dutiful_publisher_outbox (message_id, queue, body) VALUES ('m', 'content', 'no')")

    relayed = dutiful("outbox", "relay", "--once")
    assert relayed.returncode == 1
    assert "set aside 1" in relayed.stdout
    status = dutiful("outbox", "status")
    assert status.returncode == 1
    assert "set_aside" in status.stdout


def test_a_job_that_nobody_knows_is_said_to_be_unknown_and_why(dutiful):
    dutiful("store", "migrate")

    answer = dutiful("jobs", "show", "b0c7")

    assert answer.returncode == 1
    assert "Nothing is known of b0c7." in answer.stderr
    assert "dutiful queues list" in answer.stderr


def test_a_job_is_canceled_shown_and_forgotten(dutiful):
    dutiful("store", "migrate")
    job = ("--key", "7:1", "--actor", "content.import_batch", "--reason", "wrong feed")

    canceled, again, shown = (
        dutiful("jobs", "cancel", *job),
        dutiful("jobs", "cancel", *job),
        dutiful("jobs", "show", *job[:2]),
    )
    forgotten = dutiful("jobs", "rerun", *job)
    facts = json.loads(dutiful("jobs", "show", *job[:2], "--json").stdout)

    assert canceled.stdout == ("content.import_batch 7:1: canceled before it began; no message with this key runs\n")
    assert again.returncode == 1
    assert "received canceled since" in the_line(again)
    assert "state:    canceled since" in shown.stdout
    assert ": wrong feed (it had not begun)" in shown.stdout
    assert "Nothing was sent" in forgotten.stdout
    assert [line["action"] for line in facts["jobs"][0]["audit"]] == ["canceled", "forgotten"]
    assert facts["jobs"][0]["record"] is None


def test_a_job_that_has_not_begun_is_canceled_by_its_id_only_where_that_is_its_key(dutiful):
    dutiful("store", "migrate")
    why = ("--reason", "wrong")

    by_id = dutiful("jobs", "cancel", "m-1", "--actor", "sitemap.build", *why)
    by_template = dutiful("jobs", "cancel", "m-1", "--actor", "content.import_batch", *why)
    by_nobody = dutiful("jobs", "cancel", "m-1", "--actor", "content.nothing", *why)

    assert "sitemap.build m-1: canceled before it began" in by_id.stdout
    assert by_template.returncode == by_nobody.returncode == 1
    assert "--key with the job's key" in the_line(by_template)
    assert "content.nothing" in the_line(by_nobody)


@pytest.mark.parametrize("words", [(), ("m-1", "--key", "k")])
def test_a_job_is_named_by_its_id_or_by_its_key(dutiful, words):
    answer = dutiful("jobs", "show", *words)

    assert answer.returncode == 2
    assert "not both" in answer.stderr


def test_a_purge_says_what_it_removed_and_a_dry_run_what_it_would(dutiful):
    dutiful("store", "migrate")
    dutiful("jobs", "cancel", "--key", "7:1", "--actor", "content.import_batch", "--reason", "wrong feed")

    asked = dutiful("store", "purge", "--older-than", "0s", "--dry-run")
    young = dutiful("store", "purge", "--json")
    purged = dutiful("store", "purge", "--older-than", "0s")

    assert "keys: 1 to remove" in asked.stdout
    rows = dict.fromkeys(("keys", "holders", "ticks", "audit", "groups", "pauses", "requests"), 0)
    assert json.loads(young.stdout)["rows"] == rows
    assert "keys: 1 removed" in purged.stdout
    assert dutiful("store", "purge", "--older-than", "a week").returncode == 2


def test_a_token_is_shown_once_listed_without_its_secret_and_revoked(dutiful):
    dutiful("store", "migrate")

    added = dutiful("tokens", "add", "shop", "--actor", "sitemap.build", "--actor", "content.import_feed")
    listed = dutiful("tokens", "list", "--json")
    revoked = [dutiful("tokens", "revoke", "shop", "--reason", "it was in a log") for _ in range(2)]

    token = added.stdout.strip()
    assert token.startswith("dutiful_")
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["actors"], row["revoked"]) == ("shop", "content.import_feed, sitemap.build", None)
    assert token.partition("_")[2].partition("_")[2] not in listed.stdout
    assert [answer.returncode for answer in revoked] == [0, 1]
    assert json.loads(dutiful("tokens", "list", "--json").stdout)[0]["revoked"]


def test_a_token_for_an_actor_that_is_not_there_is_refused(dutiful):
    answer = dutiful("tokens", "add", "shop", "--actor", "sitemap.bild")

    assert answer.returncode == 1
    assert "there is no actor sitemap.bild" in answer.stderr
