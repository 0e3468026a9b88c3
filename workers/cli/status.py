"""`dutiful status` answers the four questions of an incident on one screen, without Prometheus or Grafana."""

import json
import sys
import time
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

import typer

from workers.cli.output import Json, document, show
from workers.cli.package import Package, broker_of, rabbitmq_of
from workers.cli.store import with_store

if TYPE_CHECKING:
    from workers.situation import Answer, Facts, Served

_SECONDS: Final = 1.0
_EXIT: Final = {"fine": 0, "unknown": 1, "degraded": 1, "down": 2}
_PORT: Final = 9191

Compare = Annotated[Path | None, typer.Option("--compare", help="What --json wrote before.", exists=True)]


def status(package: Package = "actors", *, compare: Compare = None, as_json: Json = False) -> None:
    """Is it up, is it slow, are jobs failing, has anything changed? Exit status: 0 fine, 1 degraded, 2 down."""
    from workers.situation import answers, numbers, unknown  # noqa: PLC0415  only what a command uses is loaded

    before = _read(compare) if compare else None
    facts = _facts(package)
    found, now = answers(facts), numbers(facts)
    worst = max(found, key=lambda answer: _EXIT[answer.verdict])
    verdict = {0: "fine", 1: "degraded", 2: "down"}[_EXIT[worst.verdict]]
    changes = [] if before is None else _changes(before, now)
    if as_json:
        compared = {} if before is None else {"changes": changes}
        four = [asdict(each) for each in found]
        document({"verdict": verdict, "answers": four, "numbers": now, "unknown": unknown(facts)} | compared)
    else:
        _tell(found, unknown(facts))
        if before is not None:
            show(changes, as_json=False, nothing="no number has changed")
    raise typer.Exit(_EXIT[worst.verdict])


def _facts(package: str) -> "Facts":
    """Ask RabbitMQ, the store and the workers of this host at the same time; who is silent is left out."""
    from workers.queues import held  # noqa: PLC0415
    from workers.reaching import begin  # noqa: PLC0415
    from workers.situation import Facts  # noqa: PLC0415
    from workers.store.recent import recent  # noqa: PLC0415

    broker = broker_of(package)  # a package that can't be imported is wrong usage, and no outage

    def queues() -> Any:
        with rabbitmq_of(package):
            return held(broker, broker.get_declared_queues())

    deadline = time.monotonic() + _SECONDS
    asked = [begin(queues), begin(lambda: with_store(recent)), begin(_served)]
    queues_found = _answer(asked[0], deadline, broker)
    return Facts(queues_found, *(_answer(each, deadline) for each in asked[1:]))


def _answer(asked: Future[Any], deadline: float, broker: Any = None) -> Any:
    """What was answered, or why nothing was; a RabbitMQ that refuses says so before the deadline."""
    from workers.rabbitmq import DutifulBroker  # noqa: PLC0415
    from workers.reaching import patient, refused  # noqa: PLC0415

    why = patient(asked, deadline, lambda: refused(broker) if isinstance(broker, DutifulBroker) else None)
    if why is not None:
        return f"can't be reached: {why.received}"
    try:
        return asked.result(0)
    except TimeoutError:
        return f"no answer in {_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
        return " ".join(str(error).split()) or type(error).__name__


def _served() -> "Served":
    """What the workers of this host say of themselves.

    Raises:
      OSError: nothing answers there.
    """
    from workers.settings import settings  # noqa: PLC0415
    from workers.situation import Served  # noqa: PLC0415

    chosen = settings().metrics
    host = "127.0.0.1" if chosen.host == "0.0.0.0" else chosen.host  # noqa: S104  it is an address to ask, not to bind
    place = f"http://{host}:{chosen.port or _PORT}"
    reasons = json.loads(_get(f"{place}/health/progress")).get("reasons", [])
    text = _get(f"{place}/metrics")
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415  where there is one to read

    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    oldest = {
        sample.labels["queue"]: time.time() - sample.value
        for sample in samples
        if sample.name == "dutiful_queue_probe_timestamp_seconds"
    }
    versions = {
        " ".join(filter(None, (sample.labels["version"], sample.labels["revision"])))
        for sample in samples
        if sample.name == "dutiful_build_info"
    }
    return Served(reasons, oldest, sorted(versions))


def _get(url: str) -> str:
    try:
        with urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310  the settings name a host and a port
            return str(answer.read().decode())
    except HTTPError as error:
        return str(error.read().decode())  # 503 has its reasons in its body


def _read(path: Path) -> dict[str, float]:
    try:
        return dict(json.loads(path.read_text())["numbers"])
    except (ValueError, KeyError, TypeError):
        raise typer.BadParameter(f"{path} is not what `dutiful status --json` writes") from None


def _changes(before: dict[str, float], now: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {"number": name, "before": before.get(name), "now": now.get(name)}
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _tell(found: "list[Answer]", unknown: list[str]) -> None:
    for answer in found:
        sys.stdout.write(f"{answer.question:<26}{answer.verdict}\n")
        sys.stdout.writelines(f"    {line}\n" for line in answer.says)
    sys.stdout.write("It can't be known from here:\n")
    sys.stdout.writelines(f"    {line}\n" for line in unknown)
