"""Every panel has data while all is well, shows each state that is brought about, and an alert reaches a person."""

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import ROOT, Queue, Worker, envelope, until
from prometheus import Receiver, Watch

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
def environment(rabbitmq, tmp_path):
    return {
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
        "DUTIFUL_ENVIRONMENT": "production",
    }


@pytest.fixture
def ports():
    return free_ports(5)


@pytest.fixture
def watch(ports, broker_node, tmp_path, receiver):
    rabbit = f"127.0.0.1:{broker_node.port('rabbitmq', 15692)}"
    targets = {
        "worker": [f"127.0.0.1:{ports[2]}", f"127.0.0.1:{ports[3]}"],
        "scheduler": [f"127.0.0.1:{ports[4]}"],
        "rabbitmq": [rabbit],
        "rabbitmq-queues": [rabbit],
    }
    started = Watch(tmp_path, targets, ports[:2], receiver)
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


@pytest.mark.usefixtures("scheduler")
def test_every_state_is_seen_in_its_panel_and_the_one_who_is_on_call_is_told_once(
    watch, receiver, start, ports, rabbitmq
):
    first, second = start(ports[2], "one"), start(ports[3], "two")
    for worker in (first, second):
        worker.wait_until_ready()

    # All is well: each panel, each mark and each variable has data, and the four answers are good.
    names = dict(expressions())
    until(lambda: all(map(watch.query, names.values())), 40, pause=0.5,
          what=f"no data: {[name for name, expr in names.items() if not watch.query(expr)]}")  # fmt: skip
    for variable in (each for document in DASHBOARDS for each in document["templating"]["list"][1:]):
        series, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
        assert watch.ask(f"label/{label}/values", **{"match[]": series}), variable["name"]
    wait_for(watch, one, "dutiful-incident", "Is it up?")
    for title in ("Is it slow?", "Are jobs failing?", "Did the last deployment change anything?"):
        assert number(watch, panel("dutiful-incident", title)) == 0, title
    wait_for(watch, lambda value: value == 2, "dutiful-deployment", "Versions that run")

    # One of each: what was sent twice is one job and a duplicate.
    queue = Queue(rabbitmq, "signals")
    twice = envelope("succeeds", queue="signals", n=1)
    queue.publish(twice, twice, *(envelope("succeeds", queue="signals", n=n) for n in range(20)))
    queue.publish(*(envelope(name, queue="signals") for name in ("recovers", "dies", "postpones", "overruns")))
    wait_for(watch, some, "dutiful-incident", "Jobs that ended", outcome="succeeded")
    wait_for(watch, some, "dutiful-incident", "Jobs that ended", outcome="duplicate")
    wait_for(watch, some, "dutiful-incident", "Are jobs failing?")
    wait_for(watch, some, "dutiful-incident", "Exceptions", exception="TimeLimitExceeded")
    wait_for(watch, some, "dutiful-actor", "Attempts", outcome="retried")
    wait_for(watch, some, "dutiful-actor", "Dead letters", reason="permanent")
    wait_for(watch, some, "dutiful-actor", "Stopped at the limit", actor="overruns")
    wait_for(watch, one, "dutiful-broker", "Delayed")
    wait_for(watch, lambda value: value >= 2, "dutiful-incident", "Dead letters", queue="signals.XQ")

    # All workers die: whoever is on call hears of it, and nothing of what follows from it.
    firing = 'ALERTS{alertstate="firing",severity="page"}'
    until(lambda: not watch.query(firing), what="what fired while all this started did not resolve", pause=0.3)
    receiver.heard.clear()
    asked = time.monotonic()
    first.kill()
    second.kill()
    until(lambda: receiver.of("DutifulWorkersDown", "firing"), what="nobody was told", pause=0.2)
    (told, _, alert), *_ = receiver.of("DutifulWorkersDown", "firing")
    assert told == "page-operations"
    assert alert["labels"]["environment"] == "production"
    assert alert["annotations"]["runbook_url"].endswith("/DutifulWorkersDown.md")
    wait_for(watch, lambda value: value < 1, "dutiful-incident", "Is it up?")
    assert time.monotonic() - asked < 30
    until(lambda: watch.suppressed("DutifulQueueWithoutConsumers"), what="what follows was not held back", pause=0.3)
    assert {each[2]["labels"]["alertname"] for each in receiver.heard if each[0].startswith("page-")} == {
        "DutifulWorkersDown"
    }

    # One comes back: the alert resolves, and the restart is on the dashboard.
    start(ports[2], "two").wait_until_ready()
    until(lambda: receiver.of("DutifulWorkersDown", "resolved"), what="it did not resolve", pause=0.2)
    wait_for(watch, some, "dutiful-deployment", "Restarts in an hour")
