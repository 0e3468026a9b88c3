"""Every panel has data while all is well, shows each state that is brought about, and an alert reaches a person."""

import json
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit/deploy"))
sys.path.insert(0, str(Path(__file__).parent))
import queries
from processes import ROOT, Queue, Worker, envelope, until
from prometheus import Receiver, Watch
from proxy import Proxy
from runbooks import PAGES, Runbooks

from deploy.prometheus.thresholds import Thresholds

SITE = Path(__file__).parent / "signals_site"
PERIODIQ = Path(sys.executable).with_name("periodiq")
DASHBOARDS = [json.loads(path.read_text()) for path in sorted((ROOT / "grafana/dashboards").glob("*.json"))]
VARIABLES = {"datasource": "", "environment": ".*", "queue": ".*", "actor": ".*", "__rate_interval": "20s"}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def plain(text):
    """A query with its variables filled in; one that a dashboard does not declare is an error."""
    return re.sub(r"\$\{?(\w+)(?::\w+)?\}?", lambda match: VARIABLES[match[1]], text)


def expressions():
    """Each panel's and each annotation's queries, with a name."""
    for document in DASHBOARDS:
        for panel in document["panels"]:
            for target in panel["targets"]:
                yield f"{document['uid']}: {panel['title']} ({target['refId']})", plain(target["expr"])
        for annotation in document["annotations"]["list"]:
            yield f"{document['uid']}: {annotation['name']}", plain(annotation["expr"])


def panel(uid, title):
    """The first query of one panel."""
    document = next(each for each in DASHBOARDS if each["uid"] == uid)
    found = next(each for each in document["panels"] if each["title"] == title)
    return plain(found["targets"][0]["expr"])


@pytest.fixture
def receiver():
    heard = Receiver()
    yield heard
    heard.server.shutdown()
    heard.server.server_close()


@pytest.fixture
def doors(rabbitmq, broker_node):
    """What stands before RabbitMQ for everything that runs here: its own port and that of its metrics."""
    address = urlsplit(rabbitmq)
    with (
        Proxy(address.hostname, address.port) as jobs,
        Proxy("127.0.0.1", broker_node.port("rabbitmq", 15692)) as numbers,
    ):
        yield jobs, numbers


@pytest.fixture
def environment(rabbitmq, doors, tmp_path):
    address = urlsplit(rabbitmq)
    return {
        "DUTIFUL_RABBITMQ__URL": rabbitmq.replace(f":{address.port}/", f":{doors[0].port}/"),
        "DUTIFUL_RABBITMQ__CONNECT_TIMEOUT_SECONDS": "2",
        "MENDED": str(tmp_path / "mended"),
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
        "DUTIFUL_ENVIRONMENT": "production",
    }


@pytest.fixture
def ports():
    return free_ports(5)


@pytest.fixture
def watch(ports, doors, tmp_path, receiver):
    rabbit = f"127.0.0.1:{doors[1].port}"
    targets = {
        "worker": [f"127.0.0.1:{ports[2]}", f"127.0.0.1:{ports[3]}"],
        "scheduler": [f"127.0.0.1:{ports[4]}"],
        "rabbitmq": [rabbit],
        "rabbitmq-queues": [rabbit],
    }
    # What is old is measured in seconds that no clock hastens.
    started = Watch(tmp_path, targets, ports[:2], receiver, Thresholds(oldest_job=15))
    yield started
    started.stop()


@pytest.fixture
def start(environment, tmp_path):
    started = []

    def begin(port, revision):
        folder = tmp_path / f"worker-{len(started)}"
        folder.mkdir()
        more = {"DUTIFUL_METRICS__PORT": str(port), "DUTIFUL_REVISION": revision}
        started.append(Worker(SITE, environment | more, folder, "-p", "1", "-t", "2", module="signals"))
        return started[-1]

    yield begin
    for each in started:
        each.kill()


@pytest.fixture
def scheduler(environment, ports, tmp_path):
    # Its ticks go to queues that no worker of this test reads.
    environment |= {"DUTIFUL_METRICS__PORT": str(ports[4]), "DUTIFUL_REVISION": "two", "PATH": "/usr/bin:/bin"}
    with (tmp_path / "scheduler.log").open("wb") as log:
        process = subprocess.Popen([PERIODIQ, "scheduling"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    yield process
    process.kill()
    process.wait()


def number(watch, expr, **labels):
    """What a panel shows for these labels; None: nothing."""
    found = [value for series, value in watch.query(expr) if labels.items() <= series.items()]
    return max(found, default=None)


def wait_for(watch, condition, uid, title, **labels):
    """Until a panel shows it."""
    expr = panel(uid, title)
    until(
        lambda: (value := number(watch, expr, **labels)) is not None and condition(value),
        what=f"{title} {labels} did not show it",
        pause=0.3,
    )


def one(value):
    return value == 1


def some(value):
    return value > 0


@pytest.fixture
def runbooks(environment, ports, broker_node):
    data = next(broker_node.run_folder.rglob(".erlang.cookie")).parent
    node = {
        "HOME": str(data),
        "RABBITMQ_NODENAME": "rabbit@localhost",
        "ERL_EPMD_PORT": str(broker_node.port("rabbitmq", 4369)),
        "PYTHONPATH": f"{SITE}:{ROOT}",
    }
    theirs = ("127.0.0.1:9090", "127.0.0.1:9093", "127.0.0.1:9191", "127.0.0.1:9192")
    ours = (ports[0], ports[1], ports[2], ports[4])
    addresses = {there: f"127.0.0.1:{here}" for there, here in zip(theirs, ours, strict=True)}
    return Runbooks(environment | node, addresses, "signals")


def told(receiver, since=""):
    """The alerts that woke somebody, of those that began since. Alertmanager may still tell of one from before."""
    firing = [alert for address, status, alert in list(receiver.heard) if (address[:5], status) == ("page-", "firing")]
    return [alert["labels"]["alertname"] for alert in firing if alert["startsAt"] >= since]


def calm(watch, receiver):
    """Until workers read, and nothing has been wrong for a while, not even briefly; then nobody has heard of it."""
    wrong, read = 'max_over_time(ALERTS{severity="page"}[4s])', 'rabbitmq_detailed_queue_consumers{queue="signals"} > 0'
    until(lambda: watch.query(read) and not watch.query(wrong), 60, what=f"is not calm: {wrong}, {read}", pause=0.3)
    receiver.heard.clear()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("scheduler")
def test_every_state_is_seen_in_its_panel_and_the_one_who_is_on_call_is_told_once(
    *, watch, receiver, start, ports, doors, rabbitmq, runbooks, tmp_path
):
    workers = start(ports[2], "one"), start(ports[3], "two")
    for worker in workers:
        worker.wait_until_ready()
    queue = Queue(rabbitmq, "signals")
    assert runbooks.run("dutiful store migrate", {})[0] == 0

    all_is_well(watch)
    calm(watch, receiver)
    one_failure_of_three_wakes_nobody(watch, receiver, queue)
    each_state_is_seen(watch, queue, runbooks)
    commands_of_runbooks_do_what_the_pages_say(runbooks, queue, tmp_path)
    calm(watch, receiver)
    rabbitmq_down_wakes_somebody_once(watch, receiver, doors, runbooks)
    calm(watch, receiver)
    all_workers_die(watch, receiver, workers, runbooks)

    # One comes back: the alert resolves, and the restart is on the dashboard.
    start(ports[2], "two").wait_until_ready()
    until(lambda: receiver.of("DutifulWorkersDown", "resolved"), what="it did not resolve", pause=0.2)
    wait_for(watch, some, "dutiful-deployment", "Restarts in an hour")
    assert runbooks.followed == PAGES.keys()


def all_is_well(watch):
    """Each panel, each mark and each variable has data, and the four answers are good."""
    names = dict(expressions())
    until(lambda: all(map(watch.query, names.values())), 40, pause=0.5,
          what=f"no data: {[name for name, expr in names.items() if not watch.query(expr)]}")  # fmt: skip
    numbers = {each.metric for _, expr in queries.expressions() for each in queries.selectors(expr)}
    theirs = {name for name in numbers if name.startswith("rabbitmq_")}  # a panel shows 0 where one is missing
    until(lambda: all(map(watch.query, theirs)), what=f"RabbitMQ lacks some of {theirs}", pause=0.5)
    for variable in (each for document in DASHBOARDS for each in document["templating"]["list"][1:]):
        series, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
        assert watch.ask(f"label/{label}/values", **{"match[]": series}), variable["name"]
    wait_for(watch, one, "dutiful-incident", "Is it up?")
    for title in ("Is it slow?", "Are jobs failing?", "Did the last deployment change anything?", "Paused"):
        assert number(watch, panel("dutiful-incident", title)) == 0, title
    assert number(watch, panel("dutiful-actor", "Put back"), why="store_unavailable") == 0
    assert number(watch, panel("dutiful-actor", "Dead letters"), reason="time_limit") == 0
    wait_for(watch, lambda value: value == 2, "dutiful-deployment", "Versions that run")


def one_failure_of_three_wakes_nobody(watch, receiver, queue):
    """A third fails, which is far above the objective, and long enough; but it is one job."""
    queue.publish(*(envelope(name, queue="signals", **more) for name, more in
                    (("succeeds", {"n": 0}), ("dies", {}), ("succeeds", {"n": 1}))))  # fmt: skip
    both = " * ".join(f"(queue:dutiful_failed:ratio_rate{window} > bool 0.144)" for window in ("1h", "5m"))
    until(lambda: watch.query(f"min_over_time(({both})[3s:1s]) == 1"), what="no third failed", pause=0.2)
    assert not watch.query('ALERTS{alertname="DutifulErrorBudgetBurn"}')
    assert told(receiver) == []


def each_state_is_seen(watch, queue, runbooks):
    """One of each: what was sent twice is one job and a duplicate."""
    twice = envelope("succeeds", queue="signals", n=1)
    queue.publish(twice, twice, *(envelope("succeeds", queue="signals", n=n) for n in range(20)))
    names = ("recovers", "dies", "refuses", "refuses", "postpones", "overruns", "hangs")
    queue.publish(*(envelope(name, queue="signals") for name in names))
    wait_for(watch, some, "dutiful-incident", "Jobs that ended", outcome="succeeded")
    wait_for(watch, some, "dutiful-incident", "Jobs that ended", outcome="duplicate")
    wait_for(watch, some, "dutiful-incident", "Are jobs failing?")
    wait_for(watch, some, "dutiful-incident", "Exceptions", exception="TimeLimitExceeded")
    wait_for(watch, some, "dutiful-actor", "Attempts", outcome="retried")
    wait_for(watch, lambda value: value > 1, "dutiful-actor", "Attempts that a job needed")
    wait_for(watch, some, "dutiful-actor", "Dead letters", reason="permanent")
    wait_for(watch, some, "dutiful-actor", "Stopped at the limit", actor="overruns", kind="soft")
    wait_for(watch, some, "dutiful-actor", "Stopped at the limit", actor="hangs", kind="hard")
    wait_for(watch, one, "dutiful-broker", "Delayed")
    wait_for(watch, some, "dutiful-broker", "Store: time to answer", operation="claim")
    wait_for(watch, lambda value: value >= 2, "dutiful-incident", "Dead letters", queue="signals.XQ")
    assert runbooks.run("dutiful actors pause succeeds signals --reason 'a test'", {})[0] == 0
    wait_for(watch, one, "dutiful-incident", "Paused")
    assert runbooks.run("dutiful actors resume succeeds", {})[0] == 0
    wait_for(watch, lambda value: value == 0, "dutiful-incident", "Paused")


def commands_of_runbooks_do_what_the_pages_say(runbooks, queue, tmp_path):
    """In the incident of these dead letters; the others' while all else is well."""
    (tmp_path / "mended").touch()
    status, listed = runbooks.run("dutiful dead-letters list --json", {})
    assert status == 0, listed
    letters = {each["actor"]: each for each in json.loads(listed)}
    died, refused = ({"ID": letters[name]["id"], "GROUP": letters[name]["fingerprint"]} for name in ("dies", "refuses"))
    quiet = PAGES.keys() - {"DutifulRabbitmqDown", "DutifulWorkersDown", "DutifulQueueWithoutConsumers"}
    known = {"ACTOR": "overruns", "SCHEDULE": "canary"}
    runbooks.follow({page: known | (refused if page == "DutifulDeadLettersGrowing" else died) for page in quiet})
    assert queue.count("signals.XQ") == 2, "overruns and hangs"


def rabbitmq_down_wakes_somebody_once(watch, receiver, doors, runbooks):
    """For ten minutes of the rules' hastened time, and more."""
    since = datetime.now(UTC).isoformat()
    for door in doors:
        door.refuse()
    until(lambda: receiver.of("DutifulRabbitmqDown", "firing"), what="nobody was told", pause=0.2)
    runbooks.follow({"DutifulRabbitmqDown": {}}, wrong=["dutiful queues verify"])
    until(lambda: watch.suppressed("DutifulOldestJob"), what="what follows was not held back", pause=0.3)
    assert told(receiver, since) == ["DutifulRabbitmqDown"]
    for door in doors:
        door.admit()
    until(lambda: receiver.of("DutifulRabbitmqDown", "resolved"), what="it did not resolve", pause=0.2)


def all_workers_die(watch, receiver, workers, runbooks):
    """Whoever is on call hears of it, and nothing of what follows from it."""
    asked, since = time.monotonic(), datetime.now(UTC).isoformat()
    for worker in workers:
        worker.kill()
    until(lambda: receiver.of("DutifulWorkersDown", "firing"), what="nobody was told", pause=0.2)
    (address, _, alert), *_ = receiver.of("DutifulWorkersDown", "firing")
    assert address == "page-operations"
    assert alert["labels"]["environment"] == "production"
    assert alert["annotations"]["runbook_url"].endswith("/DutifulWorkersDown.md")
    wait_for(watch, lambda value: value < 1, "dutiful-incident", "Is it up?")
    assert time.monotonic() - asked < 30
    until(lambda: watch.suppressed("DutifulQueueWithoutConsumers"), what="what follows was not held back", pause=0.3)
    runbooks.follow({"DutifulWorkersDown": {}, "DutifulQueueWithoutConsumers": {}})
    assert set(told(receiver, since)) == {"DutifulWorkersDown"}
