"""`dutiful doctor` on a real RabbitMQ: each line as it fails, and the command that it names as it mends."""

import json
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

import pika
import pytest
from processes import ROOT, until

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from proxy import Proxy

from tests.shell import Shell, decided, is_for_a_shell
from workers.doctor import rabbitmq as broker_checks
from workers.doctor import rights, store
from workers.doctor.clocks import broker_clock
from workers.doctor.examination import examine
from workers.limits import Limits
from workers.queues import management_of
from workers.rabbitmq import DutifulBroker
from workers.settings import Settings
from workers.store.engine import create_store_engine
from workers.store.identity import identity_of
from workers.store.migrate import migrate
from workers.transport import topology
from workers.users import ROLES

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
PASSWORDS = {f"DUTIFUL_USERS__{role.upper()}_PASSWORD": f"{role}-secret" for role in ROLES}
ANYTHING = {"configure": ".*", "write": ".*", "read": ".*"}
SET_MANAGEMENT = "export DUTIFUL_RABBITMQ__MANAGEMENT_URL=http://HOST:15672"
LOOK_AT_ALARMS = "rabbitmq-diagnostics alarms # tells which; then make room on that node's disk, or memory"


@pytest.fixture
def node(request):
    """The environment of the session's own node, which RabbitMQ's commands need."""
    node = request.getfixturevalue("broker_node")
    pairs = Path(f"/proc/{node.pid('rabbitmq')}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


@pytest.fixture
def shell(rabbitmq, tmp_path, node):
    """The shell of a site with one actor and one schedule; nobody has told it where the management page is."""
    site = tmp_path / "site" / "clinic"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text(JOBS)
    (site / "timetable.py").write_text(TIMETABLE)
    told = {
        "PYTHONPATH": f"{ROOT}:{site.parent}",
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
    }
    return Shell(told, tmp_path, node)


@pytest.fixture
def administrator(rabbitmq, management):
    """The management page, with an administrator's name and password in its address; it knows what it shows."""
    until(lambda: all(isinstance(node.get("disk_free"), int) for node in management.get("/api/nodes").json()))
    there = urlsplit(rabbitmq)
    return f"http://{there.username}:{there.password}@{management.base_url.host}:{management.base_url.port}"


@pytest.fixture
def examined(shell):
    """Run the doctor with --json: the exit status, and its lines by the check. What is to be pasted can be."""

    def run_doctor():
        status, said = shell.dutiful("doctor", "clinic", "--schedules", "clinic", "--json")
        lines = {}
        for line in json.loads(said):
            assert line["verdict"] == "ok" or is_for_a_shell(line["mend"]), line
            lines.setdefault(line["check"], []).append(line)
        return status, lines

    return run_doctor


@pytest.fixture
def connect(rabbitmq):
    """A broker as some user: connect(), connect("user:password")."""
    brokers = []

    def connect(user=None, url=rabbitmq):
        url = url if user is None else url.replace(urlsplit(url).netloc.split("@")[0], user)
        brokers.append(DutifulBroker(url=url, middleware=[]))
        brokers[-1].declare_queue("clinic")
        return brokers[-1]

    yield connect
    for each in brokers:
        each.close()


@pytest.fixture
def declared(connect):
    """A broker whose queue is there."""
    broker = connect()
    broker.declare_queue("clinic", ensure=True)
    return broker


@pytest.fixture
def asked(declared, administrator):
    """The management page of that broker's vhost."""
    return management_of(declared, administrator)


@pytest.fixture
def vhost(rabbitmq):
    return rabbitmq.rpartition("/")[2]


@pytest.fixture
def make_user(management, vhost):
    """Make a user of RabbitMQ's that is gone after the test: make_user("narrow", {rights}, tags="monitoring")."""
    made = []

    def make(name, rules=None, tags="", password="secret"):
        name = f"{vhost}-{name}"
        made.append(name)
        management.put(f"/api/users/{name}", json={"password": password or name, "tags": tags}).raise_for_status()
        if rules is not None:
            management.put(f"/api/permissions/{vhost}/{name}", json=rules).raise_for_status()
        return name

    yield make
    for name in {*made, *(f"{vhost}-{role}" for role in ROLES)}:
        management.delete(f"/api/users/{name}")


def verdicts(lines):
    return [line.verdict for line in lines]


def not_ok(lines):
    """The lines to be mended: by the check, the verdict, what is so, and what mends it."""
    return {
        check: (line["verdict"], line["what"], line["mend"])
        for check, found in lines.items()
        for line in found
        if line["verdict"] != "ok"
    }


def test_a_fresh_set_up_is_mended_by_the_commands_that_are_named(examined, shell, administrator):
    status, lines = examined()

    assert status == 1
    found = not_ok(lines)
    assert (lines["store schema"][0]["expected"], lines["store schema"][0]["received"]) == (
        "revision 0008",
        "no tables",
    )
    missing = found.pop("topology")
    assert missing[1].startswith(
        "missing: exchange dutiful.jobs, exchange dutiful.undeliverable, exchange dutiful.deliver"
    )
    assert missing[2] == "dutiful queues declare clinic"
    assert found == {
        "store schema": ("wrong", "the tables of dutiful are behind", "dutiful store migrate clinic"),
        "store identity": ("unknown", "a store that isn't ready has none", "dutiful store migrate clinic"),
        "policies": ("unknown", "not looked at: bindings and policies; AMQP does not tell them", SET_MANAGEMENT),
        "rabbitmq disk": ("unknown", "AMQP does not tell RabbitMQ's room", SET_MANAGEMENT),
        "clocks": ("unknown", "AMQP does not tell RabbitMQ's time", SET_MANAGEMENT),
        "consumer_timeout": (
            "unknown",
            "RabbitMQ does not tell its setting; 1800000 ms or more is needed",
            "rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'",
        ),
    }
    for mend in (found["store schema"][2], missing[2]):
        shell.paste(mend)
    shell.paste(SET_MANAGEMENT, **{"http://HOST:15672": administrator})
    assert shell.paste(found["consumer_timeout"][2]) == "{ok,1800000}\n"

    status, lines = examined()

    assert status == 0
    assert not_ok(lines).keys() == {"consumer_timeout"}, "only RabbitMQ 3.12 and later tell it"
    assert lines["rabbitmq"][0]["what"].startswith("RabbitMQ ")
    assert "belongs to no store yet" in lines["store identity"][0]["what"]
    strict, text = shell.dutiful("doctor", "clinic", "--schedules", "clinic", "--strict")
    assert strict == 1
    assert "unknown  consumer_timeout  RabbitMQ does not tell its setting; 1800000 ms or more is needed\n" in text
    assert f"{sum(map(len, lines.values())) - 1} OK, 0 wrong, 1 unknown" in text


@pytest.mark.usefixtures("declared")
def test_a_rabbitmq_that_is_not_there_is_wrong_and_what_is_in_it_unknown_until_its_address_is_set(
    examined, shell, rabbitmq
):
    shell.environment["DUTIFUL_RABBITMQ__URL"] = "memory://"
    _, lines = examined()
    mend = "export DUTIFUL_RABBITMQ__URL=amqp://USER:PASSWORD@HOST:5672/VHOST"
    assert not_ok(lines)["rabbitmq"] == ("unknown", "a broker in memory has no queues", mend)
    shell.paste(mend, **{"amqp://USER:PASSWORD@HOST:5672/VHOST": "amqp://guest:guest@127.0.0.1:9/x"})

    status, lines = examined()

    assert status == 1
    mend = "# start RabbitMQ, or correct DUTIFUL_RABBITMQ__URL"
    assert not_ok(lines)["rabbitmq"] == ("wrong", "RabbitMQ can't be reached", mend)
    assert lines["rabbitmq"][0]["expected"] == "a broker at DUTIFUL_RABBITMQ__URL"
    assert "Connection refused" in lines["rabbitmq"][0]["received"]
    assert not_ok(lines)["vhost"] == ("unknown", "RabbitMQ doesn't answer, so nothing in it was looked at", mend)
    assert "topology" not in lines

    shell.paste(f"export DUTIFUL_RABBITMQ__URL={rabbitmq}")
    _, lines = examined()
    assert lines["rabbitmq"][0]["verdict"] == lines["topology"][0]["verdict"] == "ok"
    assert "vhost" not in lines


@pytest.mark.usefixtures("declared")
def test_a_rabbitmq_that_goes_away_meanwhile_is_wrong_until_it_is_back(connect, rabbitmq, tmp_path, shell):
    there = urlsplit(rabbitmq)
    with Proxy(there.hostname, there.port) as proxy:
        broker = connect(url=rabbitmq.replace(f":{there.port}/", f":{proxy.port}/"))
        broker.store, broker.limits = create_store_engine(f"sqlite:///{tmp_path}/store.db"), Limits()
        lines = examine(broker, Settings(), "scheduling")
        assert next(line for line in lines if line.check == "rabbitmq").verdict == "ok"
        proxy.refuse()
        line = next(line for line in lines if line.check == "vhost")
        assert (line.verdict, line.what) == ("wrong", "RabbitMQ can't be reached")
        shell.paste(line.mend)  # here it is well: the network was not
        assert line.mend == "rabbitmq-diagnostics check_running # then start RabbitMQ"
        proxy.admit()
        until(lambda: "vhost" not in {line.check for line in examine(broker, Settings(), "scheduling")})
        broker.store.dispose()


def test_a_user_who_may_do_less_than_a_worker_must_is_told_which_rights_it_lacks(connect, declared, make_user, shell):
    name = make_user("narrow", {"configure": "^$", "write": "^dutiful.jobs$", "read": "^$"})
    narrow = connect(f"{name}:secret")
    declared.ask(lambda channel, answer: topology.declare_store(channel, "ours", callback=answer))

    (line,) = rights.permissions(narrow, ["clinic"])
    found, _ = broker_checks.vhost_lines(narrow, ["clinic"], None)
    (belongs,) = store.identity(narrow, "ours")

    assert line.verdict == "wrong"
    assert line.what.startswith("RabbitMQ refuses what a worker must do: configure dutiful.jobs, write amq.default")
    assert line.received == f"the user {name}"
    assert [each.check for each in found] == ["permissions"]
    assert belongs.verdict == "unknown"
    assert belongs.what.startswith("RabbitMQ refuses: ACCESS_REFUSED - ")
    assert line.mend == found[0].mend == belongs.mend
    shell.paste(line.mend)
    granted = connect(f"{name}:secret")
    assert verdicts(rights.permissions(granted, ["clinic"])) == ["ok"]
    assert verdicts(broker_checks.vhost_lines(granted, ["clinic"], None)[0]) == ["ok"]
    assert store.identity(granted, "ours")[0].what == "the vhost belongs to this store, ours"


def test_a_user_without_rights_and_a_vhost_that_isn_t_there_are_refused_and_made_by_the_commands(
    connect, vhost, shell, management, make_user
):
    name = make_user("stranger")

    (line,), version = broker_checks.reached(connect(f"{name}:secret"), ["clinic"])

    assert version is None
    assert line.what == "RabbitMQ refuses this user or vhost"
    assert line.mend.startswith(f"rabbitmqctl set_permissions -p {vhost} {name} ")
    shell.paste(line.mend)
    assert verdicts(broker_checks.reached(connect(f"{name}:secret"), ["clinic"])[0]) == ["ok"]

    management.delete(f"/api/vhosts/{vhost}").raise_for_status()
    (line,), version = broker_checks.reached(connect(), ["clinic"])
    assert version is None
    assert line.what == "RabbitMQ refuses this user or vhost"
    assert line.mend.startswith(f"rabbitmqctl add_vhost {vhost}; rabbitmqctl set_permissions -p {vhost} ")
    shell.paste(line.mend)
    assert verdicts(broker_checks.reached(connect(), ["clinic"])[0]) == ["ok"]


@pytest.mark.usefixtures("make_user")  # which removes users after the test
def test_a_wrong_password_is_told_and_users_are_made_by_the_command(connect, vhost, shell, administrator):
    worker = f"{vhost}-worker:worker-secret"

    (line,), version = broker_checks.reached(connect(worker), ["clinic"])

    assert version is None
    assert line.what == "RabbitMQ refuses this user or vhost"
    assert line.mend == (
        "# correct user and password in DUTIFUL_RABBITMQ__URL; or, to make its users: dutiful users declare"
    )
    shell.environment |= PASSWORDS | {"DUTIFUL_RABBITMQ__MANAGEMENT_URL": administrator}
    shell.paste(decided(line.mend) + " clinic")
    assert verdicts(broker_checks.reached(connect(worker), ["clinic"])[0]) == ["ok"]
    connect(worker).declare_queue("clinic", ensure=True)
    assert verdicts(rights.permissions(connect(worker), ["clinic"])) == ["ok"]


@pytest.mark.usefixtures("declared")
def test_doors_that_are_open_are_closed_by_what_the_lines_say(examined, shell, rabbitmq, administrator, make_user):
    # 127.1 is this host by a name that nobody takes for it.
    name = make_user("known", ANYTHING, password=None)
    there = urlsplit(rabbitmq)
    vhost = there.path[1:]
    shell.environment |= PASSWORDS | {
        "DUTIFUL_RABBITMQ__URL": f"amqp://{name}:{name}@127.1:{there.port}/{vhost}",
        "DUTIFUL_RABBITMQ__MANAGEMENT_URL": administrator.replace("127.0.0.1", "127.1"),
    }

    _, lines = examined()

    known, plain, page = lines["exposure"]
    assert known["what"] == "the user of RabbitMQ at 127.1 has a password that everybody knows"
    assert plain["what"] == "password and jobs go to 127.1 in plain text"
    assert page["what"] == "a password goes to the management page of 127.1 in plain text"
    shell.paste(known["mend"])
    assert shell.environment["DUTIFUL_RABBITMQ__URL"] == (
        f"amqp://{vhost}-worker:worker-secret@127.1:{there.port}/{vhost}"
    )
    assert decided(plain["mend"]) == decided(page["mend"])
    shell.paste(decided(plain["mend"]))

    _, lines = examined()

    assert [line["what"] for line in lines["exposure"]] == ["no known door is open"]
    assert {lines[check][0]["verdict"] for check in ("rabbitmq", "topology", "policies", "permissions")} == {"ok"}


def test_what_is_missing_other_or_locked_in_the_vhost_is_mended_by_the_commands(
    declared, asked, rabbitmq, shell, administrator
):
    vhost = rabbitmq.rpartition("/")[2]
    with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
        channel = connection.channel()
        channel.queue_unbind("clinic", "dutiful.jobs", "clinic")
        channel.queue_delete("dutiful.delay.03")
        channel.queue_declare("dutiful.delay.03", durable=True)
        channel.queue_delete("clinic.XQ")
        channel.queue_declare("clinic.XQ", exclusive=True)

        def found():
            return broker_checks.vhost_lines(declared, ["clinic"], asked)[0]

        lines = found()
        unbound = {line.what: line for line in lines if line.received == "no binding"}
        other, locked = (line for line in lines if line not in unbound.values())
        assert unbound.keys() >= {"queue clinic", "queue dutiful.delay.03"}
        assert other.what == "queue dutiful.delay.03"
        assert locked.verdict == "unknown"
        assert locked.what.startswith("not looked at: queue clinic.XQ; RESOURCE_LOCKED - ")
        assert locked.mend == f"rabbitmqctl list_queues -p {vhost} name owner_pid # then stop who holds it"
        assert "clinic.XQ\t<" in shell.paste(locked.mend)
    assert unbound["queue clinic"].expected == "bound to dutiful.jobs by clinic"
    assert "x-message-ttl = 800" in other.expected
    assert "x-message-ttl = none" in other.received
    assert other.mend == (
        "# stop the workers; move what it holds with dutiful queues migrate; once it is empty: "
        f"rabbitmqctl delete_queue -p {vhost} dutiful.delay.03; dutiful queues declare"
    )
    shell.paste(decided(other.mend) + " clinic")
    shell.paste(unbound["queue clinic"].mend + " clinic")
    until(lambda: verdicts(found()) == ["ok"])

    with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
        channel = connection.channel()
        channel.exchange_delete("dutiful.undeliverable")
        channel.exchange_declare("dutiful.undeliverable", "direct")
    exchange = found()[0]
    assert exchange.what == "exchange dutiful.undeliverable"
    assert (exchange.expected, exchange.received) == ("type = fanout", "type = direct")
    page = urlsplit(administrator)
    filled = {"ADMINISTRATOR": f"{page.username}:{page.password}", "HOST:15672": f"{page.hostname}:{page.port}"}
    shell.paste(f"{exchange.mend} clinic", **filled)
    until(lambda: verdicts(found()) == ["ok"])


def test_a_policy_that_breaks_a_promise_is_wrong_until_it_is_cleared(declared, asked, management, vhost, shell):
    rules = {"max-length": 9, "max-length-bytes": 99, "message-ttl": 60_000, "expires": 60_000, "delivery-limit": 5}
    names = {"policies": "^clinic", "operator-policies": r"^dutiful\.delay\.07$"}
    for kind, pattern in names.items():
        given = {each: rules[each] for each in (rules if kind == "policies" else ["max-length", "message-ttl"])}
        rule = {"pattern": pattern, "definition": given, "apply-to": "queues"}
        management.put(f"/api/{kind}/{quote(vhost)}/short", json=rule).raise_for_status()

    def policies():
        return broker_checks.vhost_lines(declared, ["clinic"], asked)[1]

    def limited():
        """How many queues the management page knows a policy of; it learns anew every five seconds."""
        return sum(bool(facts.get("effective_policy_definition")) for facts in asked.queues().values())

    until(lambda: limited() == 3)
    lines = policies()

    full, gone = "no limit: a full queue refuses retries and what is delayed", "none: RabbitMQ deletes the queue, jobs"
    vanish, later = "no limit: the oldest dead letters vanish", "none: delayed jobs would come too early"
    often = "50 or more: restarts alone use up a lower one"
    told = {(line.what, line.received.partition(" = ")[0]): line for line in lines}
    expected = {
        "queue clinic": [full, full, "none: jobs that wait longer become dead letters", gone, often],
        "queue clinic.XQ": [vanish, vanish, "none: dead letters vanish", gone, "none: dead letters that are looked at"],
        "queue dutiful.delay.07": [full, later],
    }
    for queue, harms in expected.items():
        named = ("max-length", "message-ttl") if "delay" in queue else rules
        for rule, harm in zip(named, harms, strict=True):
            line = told[(queue, rule)]
            assert line.verdict == "wrong"
            assert line.expected.startswith(f"{rule} {harm}")
            assert line.received == f"{rule} = {rules[rule]}, from short"
    mends = {line.mend for line in lines}
    assert {mend.partition(": ")[0] for mend in mends} == {"# change the policy or its pattern; or"}
    for mend in mends:
        shell.paste(decided(mend))
    until(lambda: limited() == 0)
    assert verdicts(policies()) == ["ok"]


def test_a_policy_with_a_shorter_consumer_timeout_is_wrong_until_ours_says_more(
    shell, administrator, examined, request
):
    """RabbitMQ takes it from 3.12 on; an older one says that it does not."""
    shell.environment |= PASSWORDS | {
        "DUTIFUL_RABBITMQ__MANAGEMENT_URL": administrator,
        "DUTIFUL_RABBITMQ__CONSUMER_TIMEOUT_SECONDS": "1200",
    }
    status, said = shell.dutiful("users", "declare", "clinic", "--consumer-timeout")
    shell.paste("dutiful queues declare clinic")
    _, lines = examined()
    version = tuple(map(int, lines["rabbitmq"][0]["what"].split()[1].split(".")[:2]))
    if version < (3, 12):
        assert status == 1
        assert said.startswith("dutiful: this RabbitMQ takes no consumer_timeout from a policy; nothing was made; ")
        shell.paste("dutiful users declare clinic")
        assert not_ok(lines)["consumer_timeout"][0] == "unknown"
        return

    assert status == 0, said
    shell.paste("dutiful users declare clinic")  # as with a new password: it takes nothing back
    until(lambda: "consumer_timeout" not in not_ok(examined()[1]))
    del shell.environment["DUTIFUL_RABBITMQ__CONSUMER_TIMEOUT_SECONDS"]
    status, lines = examined()
    assert status == 1
    assert not_ok(lines)["consumer_timeout"] == (
        "wrong",
        "RabbitMQ would give jobs of clinic to somebody else while they run",
        "dutiful users declare clinic --consumer-timeout",
    )
    shell.paste(not_ok(lines)["consumer_timeout"][2])
    until(lambda: "consumer_timeout" not in not_ok(examined()[1]))


def test_a_management_page_that_lets_nobody_look_is_wrong_until_its_user_may(
    declared, management, make_user, shell, connect
):
    name = make_user("worker-only", ANYTHING)
    page = management_of(connect(f"{name}:secret"), str(management.base_url))

    def lines():
        policies = broker_checks.vhost_lines(declared, ["clinic"], page)[1]
        return [*policies, *broker_checks.disks(page), *broker_clock(page)]

    found = lines()

    assert [(line.check, line.verdict) for line in found] == [
        ("policies", "wrong"),
        ("rabbitmq disk", "wrong"),
        ("clocks", "wrong"),
    ]
    assert [line.what for line in found] == [
        "bindings and policies",
        *["RabbitMQ's management API can't be read"] * 2,
    ]
    corrections = "# correct DUTIFUL_RABBITMQ__MANAGEMENT_URL, or DUTIFUL_RABBITMQ__CA_PATH; or, to let its user look"
    assert {line.mend for line in found} == {f"{corrections}: rabbitmqctl set_user_tags USER monitoring"}
    shell.paste(decided(found[0].mend), USER=name)
    assert verdicts(lines()) == ["ok", "ok", "ok"]


def test_another_store_than_the_vhost_s_is_named_and_adopts_it(connect, shell, tmp_path, examined):
    broker = connect()
    for name in ("first", "store"):
        engine = create_store_engine(f"sqlite:///{tmp_path}/{name}.db")
        migrate(engine, None)
        broker.store_id = identity_of(engine) if name == "first" else broker.store_id
        ours = identity_of(engine)
        engine.dispose()
    broker.declare_queue("clinic", ensure=True)

    (line,) = examined()[1]["store identity"]

    assert line["verdict"] == "wrong"
    assert line["what"] == f"this vhost belongs to store {broker.store_id}; this process has store {ours}"
    assert line["mend"] == (
        '# correct the address that is wrong; or, on purpose: dutiful store adopt clinic --reason "WHY"'
    )
    (corrected,) = store.identity(broker, broker.store_id)
    assert corrected.what == f"the vhost belongs to this store, {broker.store_id}"
    shell.paste(decided(line["mend"]), WHY="a test")
    assert store.identity(broker, ours)[0].verdict == "ok"


def test_an_alarm_is_told_by_amqp_and_by_the_management_api(declared, asked, connect, shell):
    shell.paste("rabbitmqctl set_vm_memory_high_watermark absolute 1")
    try:
        (line,) = rights.answered(declared, ["clinic"])
        (node,) = until(lambda: [each for each in broker_checks.disks(asked) if each.verdict == "wrong"])
        assert "Memory alarm" in shell.paste(line.mend)
    finally:
        shell.paste("rabbitmqctl set_vm_memory_high_watermark absolute 1GB")

    assert line.what == "RabbitMQ has raised an alarm for memory or disk, and takes no messages"
    assert line.received == "connection.blocked"
    assert line.mend == node.mend == LOOK_AT_ALARMS
    assert node.what.endswith("has raised mem_alarm")
    until(lambda: verdicts(rights.answered(connect(), ["clinic"])) == ["ok", "ok"])
    until(lambda: verdicts(broker_checks.disks(asked)) == ["ok"])
    assert broker_clock(asked)[0].verdict == "ok"
