"""`dutiful doctor` on a real RabbitMQ: each line as it fails, and the command that it names as it mends."""

import json
import shlex
import subprocess
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from processes import ROOT, until

from tests.commands import dutiful, unset
from workers.doctor import rabbitmq as broker_checks
from workers.doctor import rights, store
from workers.doctor.clocks import broker_clock
from workers.queues import management_of
from workers.rabbitmq import DutifulBroker
from workers.store.engine import create_store_engine
from workers.store.identity import identity_of
from workers.store.migrate import migrate

JOBS = """
from workers import actor
from workers.broker import setup_broker

setup_broker()


@actor(queue_name="clinic", owner="tests", expects="nothing", rollback="none")
def examine(n: int = 0) -> None:
    pass
"""
TIMETABLE = """
from clinic import examine
from scheduling.every import Every
from scheduling.schedule import Schedule

TIMETABLE = (Schedule("examine-hourly", examine, Every(3600), owner="tests"),)
"""


@pytest.fixture
def told(rabbitmq, tmp_path, management):
    """The environment of a site with one actor and one schedule."""
    site = tmp_path / "site" / "clinic"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text(JOBS)
    (site / "timetable.py").write_text(TIMETABLE)
    return unset() | {
        "PYTHONPATH": f"{ROOT}:{site.parent}",
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_RABBITMQ__MANAGEMENT_URL": str(management.base_url),
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
    }


@pytest.fixture
def run(told, tmp_path):
    """Run a command as an operator types it: the exit status, and what it wrote."""

    def run(command, **more):
        program, *words = shlex.split(command)
        assert program == "dutiful"
        done = dutiful(*words, environment=told | more, folder=tmp_path)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def examined(run):
    """Run the doctor with --json: the exit status, and its lines by the check."""

    def run_doctor(**more):
        status, said = run("dutiful doctor clinic --schedules clinic --json", **more)
        lines = {}
        for line in json.loads(said):
            lines.setdefault(line["check"], []).append(line)
        return status, lines

    return run_doctor


@pytest.fixture
def rabbitmqctl(request):
    """Run what a line names, on the session's own node, with that node's environment."""
    node = request.getfixturevalue("broker_node")
    pairs = Path(f"/proc/{node.pid('rabbitmq')}/environ").read_bytes().decode().split("\0")
    environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def run(command):
        program, *words = shlex.split(command)
        assert program == "rabbitmqctl"
        done = subprocess.run(
            ["/usr/lib/rabbitmq/bin/rabbitmqctl", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.fixture
def connect(rabbitmq):
    """A broker as some user: connect(), connect("user:password")."""
    brokers = []

    def connect(user=None):
        url = rabbitmq if user is None else rabbitmq.replace(urlsplit(rabbitmq).netloc.split("@")[0], user)
        brokers.append(DutifulBroker(url=url, middleware=[]))
        return brokers[-1]

    yield connect
    for each in brokers:
        each.close()


@pytest.fixture
def vhost(rabbitmq):
    return rabbitmq.rpartition("/")[2]


def verdicts(lines):
    return {line["verdict"] for found in lines.values() for line in found}


def test_a_fresh_set_up_is_mended_by_the_commands_that_are_named(examined, run):
    status, lines = examined()

    assert status == 1
    schema, topology = lines["store schema"][0], lines["topology"][0]
    assert (schema["what"], schema["expected"], schema["received"]) == (
        "the tables of dutiful are behind",
        "revision 0008",
        "no tables",
    )
    assert topology["what"].startswith("missing: exchange dutiful.jobs, exchange dutiful.undeliverable")
    assert lines["store identity"][0]["verdict"] == "unknown"
    assert schema["mend"] == "dutiful store migrate clinic"
    assert topology["mend"] == "dutiful queues declare clinic"
    for line in (schema, topology):
        assert run(line["mend"])[0] == 0

    status, lines = examined()

    assert status == 0
    assert {check for check, found in lines.items() if {line["verdict"] for line in found} != {"ok"}} == {
        "consumer_timeout"
    }
    assert lines["rabbitmq"][0]["what"].startswith("RabbitMQ ")
    assert "belongs to no store yet" in lines["store identity"][0]["what"]
    strict, text = run("dutiful doctor clinic --schedules clinic --strict")
    assert strict == 1
    assert "unknown  consumer_timeout  RabbitMQ does not tell its setting; 1800000 ms or more is needed\n" in text
    assert f"{sum(map(len, lines.values())) - 1} OK, 0 wrong, 1 unknown" in text


def test_a_broker_that_is_away_is_wrong_and_what_is_in_it_unknown(examined):
    status, lines = examined(DUTIFUL_RABBITMQ__URL="amqp://guest:guest@127.0.0.1:9/x")

    assert status == 1
    assert lines["rabbitmq"][0]["what"] == "RabbitMQ can't be reached"
    assert lines["rabbitmq"][0]["expected"] == "a broker at DUTIFUL_RABBITMQ__URL"
    assert lines["vhost"][0]["verdict"] == "unknown"
    assert "topology" not in lines


def test_a_user_who_may_do_less_than_a_worker_must_is_told_which_rights_it_lacks(
    connect, management, vhost, rabbitmqctl
):
    name = f"{vhost}-narrow"
    connect().declare_queue("clinic", ensure=True)
    management.put(f"/api/users/{name}", json={"password": "secret", "tags": ""}).raise_for_status()
    rules = {"configure": "^$", "write": "^dutiful.jobs$", "read": "^$"}
    management.put(f"/api/permissions/{vhost}/{name}", json=rules).raise_for_status()
    narrow = connect(f"{name}:secret")

    (line,) = rights.permissions(narrow, ["clinic"])
    found, _ = broker_checks.vhost_lines(narrow, ["clinic"], None)

    assert line.verdict == "wrong"
    assert line.what.startswith("RabbitMQ refuses what a worker must do: configure dutiful.jobs, write amq.default")
    assert line.received == f"the user {name}"
    assert [each.check for each in found] == ["permissions"]
    rabbitmqctl(line.mend)
    assert [each.verdict for each in rights.permissions(connect(f"{name}:secret"), ["clinic"])] == ["ok"]
    assert broker_checks.vhost_lines(connect(f"{name}:secret"), ["clinic"], None)[0][0].verdict == "ok"
    management.delete(f"/api/users/{name}").raise_for_status()


def test_a_vhost_that_isn_t_there_is_refused_and_made_by_the_command(connect, vhost, rabbitmqctl, management):
    management.delete(f"/api/vhosts/{vhost}").raise_for_status()

    (line,), there = broker_checks.reached(connect(), ["clinic"])

    assert not there
    assert line.what == "RabbitMQ refuses this user or vhost"
    for command in line.mend.split("; "):
        rabbitmqctl(command)
    lines, there = broker_checks.reached(connect(), ["clinic"])
    assert there
    assert lines[0].verdict == "ok"


def test_a_policy_that_limits_a_work_queue_is_wrong_until_it_is_cleared(connect, management, vhost, told, rabbitmqctl):
    broker = connect()
    broker.declare_queue("clinic", ensure=True)
    asked = management_of(broker, told["DUTIFUL_RABBITMQ__MANAGEMENT_URL"])
    rules = {"pattern": "^clinic$", "definition": {"max-length": 9}, "apply-to": "queues"}
    management.put(f"/api/policies/{quote(vhost)}/short", json=rules).raise_for_status()

    def policies():
        return broker_checks.vhost_lines(broker, ["clinic"], asked)[1]

    (line,) = until(lambda: [each for each in policies() if each.verdict == "wrong"])

    assert line.what == "queue clinic"
    assert line.expected.startswith("max-length no limit: a full queue refuses retries")
    assert line.received == "max-length = 9, from short"
    rabbitmqctl(line.mend.partition("; or: ")[2])
    until(lambda: [each.verdict for each in policies()] == ["ok"])


def test_another_store_than_the_vhost_s_is_named_and_adopts_it(connect, run, told, tmp_path):
    broker = connect()
    for name in ("first", "store"):
        engine = create_store_engine(f"sqlite:///{tmp_path}/{name}.db")
        migrate(engine, None)
        broker.store_id = identity_of(engine) if name == "first" else broker.store_id
        ours = identity_of(engine)
        engine.dispose()
    broker.declare_queue("clinic", ensure=True)

    (line,) = store.identity(broker, ours)

    assert line.verdict == "wrong"
    assert line.what == f"this vhost belongs to store {broker.store_id}; this process has store {ours}"
    command = line.mend.partition("on purpose: ")[2].replace("adopt", "adopt clinic")
    assert run(command)[0] == 0
    assert store.identity(broker, ours)[0].verdict == "ok"


def test_an_alarm_is_told_by_amqp_and_by_the_management_api(connect, told, rabbitmqctl):
    broker = connect()
    broker.declare_queue("clinic", ensure=True)
    asked = management_of(broker, told["DUTIFUL_RABBITMQ__MANAGEMENT_URL"])
    rabbitmqctl("rabbitmqctl set_vm_memory_high_watermark absolute 1")
    try:
        (line,) = rights.answered(broker, ["clinic"])
        (node,) = until(lambda: [each for each in broker_checks.disks(asked) if each.verdict == "wrong"])
    finally:
        rabbitmqctl("rabbitmqctl set_vm_memory_high_watermark absolute 1GB")

    assert line.what == "RabbitMQ has raised an alarm for memory or disk, and takes no messages"
    assert line.received == "connection.blocked"
    assert node.what.endswith("has raised mem_alarm")
    until(lambda: [each.verdict for each in rights.answered(connect(), ["clinic"])] == ["ok", "ok"])
    assert broker_clock(asked)[0].verdict == "ok"
