"""docker-compose.yml, prometheus.yml and the code name the same ports, times and commands."""

import re
import shlex
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from dramatiq.cli import make_argument_parser

from deploy.local import compose
from scheduling import scheduler
from workers.broker import setup_broker
from workers.settings import Settings
from workers.store.engine import create_store_engine

ROOT = Path(__file__).parents[2]
SERVICES = compose.read(ROOT / "docker-compose.yml")
METRICS = {"worker": 9191, "scheduler": 9192}
OURS = ("migrate", "gateway", *METRICS)
# After the command's own timeout Dramatiq still closes its connections, and the parent looks once a second.
LEAVING = timedelta(seconds=5)


def worker_options():
    program, *arguments = SERVICES["worker"].command
    assert program == "dramatiq"
    return make_argument_parser().parse_args(arguments)


def longest_time_limit():
    ours = [actor for actor in setup_broker().actors.values() if actor.fn.__module__.startswith("actors.")]
    return timedelta(milliseconds=max(actor.options["time_limit"] for actor in ours))


def test_the_worker_runs_the_site_s_jobs():
    assert worker_options().broker == "actors"


def test_the_scheduler_runs_the_site_s_timetable():
    assert SERVICES["scheduler"].command == ("periodiq", "scheduling")


def test_the_store_is_migrated_before_anything_that_needs_it_starts():
    assert SERVICES["migrate"].command == ("dutiful", "store", "migrate")
    for name in METRICS:
        assert SERVICES[name].depends_on["migrate"] == "service_completed_successfully"


def test_a_container_gets_more_time_to_stop_than_its_worker_takes():
    shutdown = timedelta(milliseconds=worker_options().worker_shutdown_timeout)

    assert shutdown + LEAVING < timedelta(seconds=SERVICES["worker"].stop_grace_seconds)


def test_a_container_gets_more_time_to_stop_than_a_tick_takes():
    assert timedelta(seconds=SERVICES["scheduler"].stop_grace_seconds) > scheduler.GRACE


@pytest.mark.parametrize(("service", "port"), METRICS.items())
def test_metrics_and_health_are_where_prometheus_and_the_healthcheck_look(service, port):
    described = SERVICES[service]

    assert described.environment["DUTIFUL_METRICS__PORT"] == str(port)
    assert described.environment["DUTIFUL_METRICS__HOST"] == "0.0.0.0"
    assert port in described.ports
    assert f"http://127.0.0.1:{port}/health'" in shlex.join(described.healthcheck.test).replace("'\"'\"'", "'")
    assert f"{service}:{port}" in targets()


def test_prometheus_looks_at_services_and_ports_that_there_are():
    for target in targets():
        host, port = target.split(":")
        service = "prometheus" if host == "127.0.0.1" else host
        assert int(port) in SERVICES[service].ports, target


def test_the_ports_are_those_that_the_settings_describe():
    description = Settings.model_fields["metrics"].annotation.model_fields["port"].description

    assert [int(number) for number in re.findall(r"\d+", description)] == list(METRICS.values())
    assert METRICS["scheduler"] == scheduler._PORT


@pytest.mark.parametrize("service", OURS)
def test_a_service_is_given_settings_that_exist_and_work(service, monkeypatch):
    ours = {name: value for name, value in SERVICES[service].environment.items() if name.startswith("DUTIFUL_")}
    for name in Settings.variables():
        monkeypatch.delenv(name, raising=False)
    for name, value in ours.items():
        monkeypatch.setenv(name, value)

    loaded = Settings.load()

    assert create_store_engine(loaded.store.url.get_secret_value()).dialect.name == "postgresql"


def test_no_job_may_run_longer_than_rabbitmq_waits_for_it():
    most = next(limit.le for limit in worker_limit().metadata if hasattr(limit, "le"))
    configured = (ROOT / "deploy/rabbitmq/rabbitmq.conf").read_text()
    (milliseconds,) = re.findall(r"^consumer_timeout = (\d+)$", configured, re.MULTILINE)

    assert max(longest_time_limit(), timedelta(seconds=most)) < timedelta(milliseconds=int(milliseconds))


def worker_limit():
    return Settings.model_fields["worker"].annotation.model_fields["time_limit_seconds"]


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_published_on_loopback_only(service):
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

    assert all(str(port).startswith("127.0.0.1:") for port in document["services"][service].get("ports", ()))


def targets():
    document = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    return [
        target for job in document["scrape_configs"] for config in job["static_configs"] for target in config["targets"]
    ]
