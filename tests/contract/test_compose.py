"""docker-compose.yml, Dockerfile, deploy/ and the code name the same ports, paths, times, sizes and commands."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from dramatiq.cli import make_argument_parser

from deploy.demo import __main__ as demo
from deploy.local import compose, images, screen
from deploy.local.folders import COMPOSE_FILE
from deploy.rehearsal import site
from deploy.release import note, staging
from deploy.release.staging import OURS
from deploy.setup import passwords
from scheduling import scheduler
from workers import users
from workers.broker import setup_broker
from workers.settings import Settings
from workers.store.engine import create_store_engine

ROOT = Path(__file__).parents[2]
SERVICES = compose.read(COMPOSE_FILE, own=dict.fromkeys(passwords.needed(COMPOSE_FILE), "secret"))
METRICS = {"worker": 9191, "scheduler": 9192}
PARTS = ("migrate", "broker-setup", "queues", "doctor", "operator", "gateway", *METRICS)
# After the command's own timeout Dramatiq still closes its connections, and the parent looks once a second.
LEAVING = timedelta(seconds=5)


def worker_options():
    program, *arguments = SERVICES["worker"].command
    assert program == "dramatiq"
    return make_argument_parser().parse_args(arguments)


def longest_time_limit():
    import_module("actors")  # else there is no job
    ours = [actor for actor in setup_broker().actors.values() if actor.fn.__module__.startswith("actors.")]
    return timedelta(milliseconds=max(actor.options["time_limit"] for actor in ours))


def test_the_worker_runs_the_site_s_jobs():
    assert worker_options().broker == "actors"


def test_the_scheduler_runs_the_site_s_timetable():
    assert SERVICES["scheduler"].command == ("periodiq", "scheduling")


PREPARING = {
    "migrate": (("store", "migrate"), {"postgres"}),
    "broker-setup": (("users", "declare"), {"rabbitmq"}),
    "queues": (("queues", "declare"), {"broker-setup"}),
    "doctor": (("doctor",), {"migrate", "queues"}),
}
"""What prepares the others: the words after `dutiful`, and what has to be there before."""


@pytest.mark.parametrize(("name", "words", "needs"), [(name, *told) for name, told in PREPARING.items()])
def test_what_prepares_the_others_runs_once_after_what_it_needs(name, words, needs):
    described = DECLARED[name]

    assert SERVICES[name].command == ("dutiful", *words)
    assert described["depends_on"] == {each: {"condition": WELL[each in PREPARING]} for each in needs}
    assert described["restart"] == "no"
    assert (megabytes(described["mem_limit"]), described["cpus"]) == (ONE_SHOT_MEGABYTES, 1)


WELL = {True: "service_completed_successfully", False: "service_healthy"}


def test_nothing_of_ours_that_lasts_starts_before_the_doctor_has_found_nothing_wrong():
    for name in BUILT:
        if name in LASTING:
            assert SERVICES[name].depends_on == {"doctor": WELL[True]}


def test_the_doctor_looks_at_the_management_page_as_a_user_who_may_only_look():
    login = ("dutiful-metrics", "${RABBITMQ_METRICS_PASSWORD:?run make env}")

    assert logins("doctor", "DUTIFUL_RABBITMQ__MANAGEMENT_URL") == (login, "rabbitmq:15672")


SERVED_AS = {"operator": "operator"}
"""Who logs in to RabbitMQ as another user than the worker's."""


@pytest.mark.parametrize("name", [*PARTS, "scheduler-2"])
def test_a_service_logs_in_to_rabbitmq_as_a_user_with_the_least_rights(name):
    (user, password), server = logins(name, "DUTIFUL_RABBITMQ__URL")
    role = SERVED_AS.get(name, "worker")

    assert user == users.user(users.VHOST, role)
    assert password == f"${{RABBITMQ_{role.upper()}_PASSWORD:?run make env}}"
    assert server == f"rabbitmq:5672/{users.VHOST}"


def test_each_user_gets_the_password_that_is_in_its_address_and_only_the_set_up_has_the_administrators():
    given = DECLARED["broker-setup"]["environment"]
    root = (DECLARED["rabbitmq"]["environment"][f"RABBITMQ_DEFAULT_{what}"] for what in ("USER", "PASS"))

    for role in users.ROLES:
        name = f"DUTIFUL_USERS__{role.upper()}_PASSWORD"
        assert name in Settings.variables()
        assert given[name] == f"${{RABBITMQ_{role.upper()}_PASSWORD:?run make env}}"
    assert logins("broker-setup", "DUTIFUL_RABBITMQ__MANAGEMENT_URL") == (tuple(root), "rabbitmq:15672")
    holders = {name for name, each in DECLARED.items() if "${RABBITMQ_PASSWORD" in str(each)}
    assert holders == {"rabbitmq", "broker-setup"}


def logins(name, variable):
    """User and password of an address, as the compose file has them, and where it leads."""
    who, _, server = DECLARED[name]["environment"][variable].partition("://")[2].rpartition("@")
    return tuple(re.match(r"(\$\{.*?\}|[^:]*):(.*)", who).groups()), server


def test_an_operator_looks_at_the_management_page_of_its_own_rabbitmq():
    operator = SERVICES["operator"]

    assert operator.environment["DUTIFUL_RABBITMQ__MANAGEMENT_URL"] == "http://rabbitmq:15672"
    assert operator.command == ("dutiful", "queues", "list")


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


@pytest.mark.parametrize("service", PARTS)
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


def document():
    return yaml.safe_load(COMPOSE_FILE.read_text())


DECLARED = document()["services"]
LASTING = [name for name in DECLARED if DECLARED[name]["restart"] != "no"]
BUILT = [name for name in DECLARED if DECLARED[name]["image"] == OURS]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
BROKER = (ROOT / "deploy/rabbitmq/rabbitmq.conf").read_text()
ONE_SHOT_MEGABYTES = 512  # `dutiful` has the jobs and their libraries in it, and Alembic
IDLE_MEGABYTES = 110  # of a worker process, at most: the figure that bench/wait.py is held to
SPARE = 1.5


def megabytes(text):
    number, unit = re.fullmatch(r"(\d+)([mg])b?", str(text).lower()).groups()
    return int(number) * {"m": 1, "g": 1024}[unit]


@pytest.mark.parametrize("name", DECLARED)
def test_an_image_is_pinned_to_a_version(name):
    assert DECLARED[name]["image"] == OURS or re.search(r":v?\d+\.\d+", DECLARED[name]["image"])


@pytest.mark.parametrize("name", LASTING)
def test_a_service_that_lasts_is_checked_restarted_bounded_and_given_time(name):
    described = DECLARED[name]

    assert described["restart"] == "unless-stopped"
    assert {"healthcheck", "mem_limit", "cpus", "stop_grace_period"} <= described.keys()
    assert {"interval", "timeout", "retries", "start_period"} < described["healthcheck"].keys()
    assert {"max-size", "max-file"} == described["logging"]["options"].keys()
    checked = re.findall(r"127\.0\.0\.1[:/](\d+)", shlex.join(described["healthcheck"]["test"]))
    assert checked
    assert {int(port) for port in checked} <= {int(port.rpartition(":")[2]) for port in described["ports"]}


@pytest.mark.parametrize("name", BUILT)
def test_what_is_ours_has_no_right_that_it_does_not_need(name):
    described = DECLARED[name]

    assert described["init"]
    assert described["read_only"]
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert [place.partition(":")[0] for place in described["tmpfs"]] == ["/tmp"]


def test_no_password_has_a_default_and_make_up_writes_those_that_are_missing():
    text = COMPOSE_FILE.read_text()
    named = set(re.findall(r"\$\{(\w*PASSWORD\w*)", text))

    assert named == set(passwords.needed(COMPOSE_FILE))
    assert set(staging.PASSWORDS) == named
    assert not re.search(r"PASS\w*: [^$\s]", text)
    assert re.search(r"^up: .*\benv\b", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_each_folder_that_the_worker_is_told_of_is_a_volume_or_a_mount_and_is_in_the_image():
    told = [value for name, value in SERVICES["worker"].environment.items() if name.endswith("_DIRECTORY")]

    assert sorted(told) == sorted(mount.target for mount in SERVICES["worker"].volumes)
    assert re.search(rf"install --directory --owner=dutiful {' '.join(sorted(told))}$", DOCKERFILE, re.MULTILINE)
    assert any(mount.endswith(":/srv/feeds:ro") for mount in DECLARED["worker"]["volumes"])


def test_each_file_that_is_mounted_is_there_and_each_volume_is_used():
    mounts = [mount.split(":")[:2] for each in DECLARED.values() for mount in each.get("volumes", ())]
    named = {source for source, _ in mounts if not source.startswith((".", "$"))}

    assert all((ROOT / source).exists() for source, _ in mounts if source.startswith("."))
    assert named == document()["volumes"].keys()
    for described in DECLARED.values():
        targets_ = [mount.split(":")[1] for mount in described.get("volumes", ())]
        for word in described.get("command", ()):
            path = re.search(r"=(/\S+)$", word)
            assert not path or path[1] in targets_, word


def test_rabbitmq_stops_publishers_before_its_memory_ends():
    (watermark,) = re.findall(r"^vm_memory_high_watermark\.absolute = (\d+[GM])B$", BROKER, re.MULTILINE)

    assert megabytes(DECLARED["rabbitmq"]["mem_limit"]) >= SPARE * megabytes(watermark)


def test_a_worker_has_memory_for_its_processes_and_an_isolated_job_and_a_core_for_each():
    isolated = Settings.model_fields["worker"].annotation.model_fields["memory_limit_megabytes"].default
    processes = worker_options().processes

    assert megabytes(DECLARED["worker"]["mem_limit"]) >= processes * IDLE_MEGABYTES + isolated
    assert DECLARED["worker"]["cpus"] == processes


def test_rabbitmq_is_told_the_vhost_plugins_and_consumer_timeout_that_the_code_counts_on():
    plugins = (ROOT / "deploy/rabbitmq/enabled_plugins").read_text()
    address = urlsplit(SERVICES["worker"].environment["DUTIFUL_RABBITMQ__URL"])
    timeout = Settings.model_fields["rabbitmq"].annotation.model_fields["consumer_timeout_seconds"].default
    watched = [job["params"]["vhost"] for job in scrapes() if "params" in job]

    assert address.path == f"/{SERVICES['rabbitmq'].environment['RABBITMQ_DEFAULT_VHOST']}"
    assert watched == [[address.path.removeprefix("/")]]
    assert address.port in SERVICES["rabbitmq"].ports
    assert {"rabbitmq_management", "rabbitmq_prometheus"} <= set(re.findall(r"\w+", plugins))
    assert re.findall(r"^consumer_timeout = (\d+)$", BROKER, re.MULTILINE) == [str(timeout * 1000)]


def scrapes():
    return yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]


def test_prometheus_watches_every_service_that_serves_metrics_and_names_it_as_the_code_does():
    served = {name for name in BUILT if SERVICES[name].ports}
    jobs = {job["job_name"] for job in scrapes()}

    assert served <= {target.partition(":")[0] for target in targets()}
    rules = (ROOT / "deploy/prometheus/dutiful.rules.yml").read_text()
    assert set(re.findall(r'job="([\w-]+)"', rules)) <= jobs


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_a_server_listens_where_its_port_is_published(name):
    (port,) = re.findall(r"--web\.listen-address=0\.0\.0\.0:(\d+)", shlex.join(DECLARED[name]["command"]))

    assert int(port) in SERVICES[name].ports


def test_prometheus_finds_its_rules_beside_its_configuration():
    written = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    mounted = {mount.target for mount in SERVICES["prometheus"].volumes}

    assert {f"/etc/prometheus/{name}" for name in written["rule_files"]} <= mounted


def test_what_watches_is_in_a_profile_that_make_env_switches_on():
    profiles = {profile for each in DECLARED.values() for profile in each.get("profiles", ())}

    watching = {name for name, each in DECLARED.items() if each.get("profiles") == ["monitoring"]}
    assert watching == {"prometheus", "alertmanager", "grafana"}
    assert profiles == {"monitoring", "operator"}
    assert "COMPOSE_PROFILES=monitoring\n" in passwords.HEAD


def test_two_schedulers_run_the_same():
    first, second = SERVICES["scheduler"], SERVICES["scheduler-2"]

    assert (first.command, first.environment) == (second.command, second.environment)


def test_no_two_services_are_published_on_one_port():
    published = [port.split(":")[1] for each in DECLARED.values() for port in each.get("ports", ())]

    assert len(set(published)) == len(published)


# The image


def test_the_image_s_command_is_that_of_the_compose_file_and_no_shell():
    (command,) = re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)

    assert json.loads(command) == [str(word) for word in DECLARED["worker"]["command"]]
    assert "ENTRYPOINT" not in DOCKERFILE


def test_the_image_is_made_in_two_stages_from_one_pinned_python_that_the_project_supports():
    bases = re.findall(r"^FROM python:((\d+\.\d+)\.\d+)-slim-\w+", DOCKERFILE, re.MULTILINE)

    assert len(bases) == len(re.findall(r"^FROM ", DOCKERFILE, re.MULTILINE)) == 2
    assert len(set(bases)) == 1
    assert f"{bases[0][1]}." in {f"3.{minor}." for minor in supported_minors()}


def supported_minors():
    least, below = re.findall(r"3\.(\d+)", PROJECT["project"]["requires-python"])
    return range(int(least), int(below))


def test_everything_that_the_image_installs_is_locked_with_its_hash_or_built_here():
    installs = re.findall(r"pip (?:--python \S+ )?(?:install|wheel) ([^\\&\n]+)", DOCKERFILE)
    locked = [each for each in installs if "--require-hashes" in each]

    assert [re.search(r"-r (\S+)", each)[1] for each in locked] == ["build.lock", "requirements.lock"]
    assert all("--only-binary :all:" in each for each in locked)
    assert all(
        "--no-deps" in each and ("--no-index" in each or "--no-build-isolation" in each)
        for each in installs
        if each not in locked
    )
    assert "--without-pip /venv" in DOCKERFILE
    assert PROJECT["build-system"]["requires"] == PROJECT["dependency-groups"]["build"]
    assert all(f"{each} " in (ROOT / "deploy/build.lock").read_text() for each in PROJECT["build-system"]["requires"])


def test_the_image_has_every_package_of_the_project_and_what_is_copied_exists():
    sources = [
        word for words in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in words.split()
    ]

    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(sources)
    assert all((ROOT / source).exists() for source in sources)
    ignored = {line.strip("/") for line in (ROOT / ".dockerignore").read_text().split()}
    assert not ignored & {part for source in sources for part in (source, *Path(source).parts)}


def test_the_image_runs_as_an_ordinary_user_and_knows_its_revision():
    last = DOCKERFILE.rpartition("\nFROM ")[2]

    assert re.search(r"useradd --system --uid \d{5} .*dutiful", last)
    assert last.index("USER dutiful") < last.index("CMD")
    assert list(DECLARED["worker"]["build"]["args"]) == re.findall(r"^ARG (\w+)=", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^ENV (DUTIFUL_\w+)=\$(\w+)$", last, re.MULTILINE) == [("DUTIFUL_REVISION", "REVISION")]
    assert "DUTIFUL_REVISION" in Settings.variables()


# What runs without containers


@pytest.mark.parametrize(("title", "service", "port", "path"), screen.PAGES)
def test_a_page_that_make_up_shows_is_served(title, service, port, path):
    assert port in SERVICES[service].ports


def test_every_service_has_a_stand_in_or_a_reason_why_not():
    left_out = compose.only_in_containers(COMPOSE_FILE)

    assert SERVICES.keys() | left_out.keys() == DECLARED.keys()
    assert {images.image_name(service) for service in SERVICES.values()} == images.IMAGES.keys()


def test_demo_and_rehearsal_name_services_and_ports_that_there_are():
    assert set(demo.SERVICES) <= SERVICES.keys()
    assert {demo.MANAGEMENT} <= set(SERVICES["rabbitmq"].ports)
    assert {demo.METRICS, site.METRICS} <= set(SERVICES["worker"].ports)
    assert {demo.PROMETHEUS} <= set(SERVICES["prometheus"].ports)
    assert set(site.SERVICES) <= set(BUILT)


def test_a_rollback_names_every_service_that_runs_our_image():
    assert note.deployed() == [name for name in BUILT if name in LASTING]


UNITS = {path.stem.removeprefix("dutiful-").removesuffix("@"): path for path in (ROOT / "deploy/systemd").iterdir()}


def unit(name):
    """Each setting of a unit, the last one of a name wins."""
    return dict(line.split("=", 1) for line in UNITS[name].read_text().splitlines() if re.match(r"\w+=", line))


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_stops_its_command_gently_and_starts_what_the_compose_file_starts(name):
    said = unit(name)
    program, *arguments = said["ExecStart"].split()

    assert said["KillMode"] == "mixed"
    assert (said["Restart"], said["RestartSec"], said["StartLimitIntervalSec"]) == ("always", "1", "0"), (
        "never given up"
    )
    assert (Path(program).name, arguments[0]) == SERVICES[name].command[:2]
    assert int(said["TimeoutStopSec"]) == SERVICES[name].stop_grace_seconds
    assert megabytes(said["MemoryMax"]) == megabytes(DECLARED[name]["mem_limit"])
    assert {"NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "CapabilityBoundingSet"} <= said.keys()


def test_the_unit_of_a_worker_has_the_threads_and_the_timeout_of_the_compose_file():
    told = make_argument_parser().parse_args(unit("worker")["ExecStart"].split()[1:])

    assert (told.threads, told.worker_shutdown_timeout) == (
        worker_options().threads,
        worker_options().worker_shutdown_timeout,
    )
    assert unit("worker")["ReadWritePaths"].removeprefix("-") == SERVICES["worker"].environment["SITE_PUBLIC_DIRECTORY"]


def test_each_worker_of_a_host_has_a_port_of_its_own_for_metrics():
    name, port = unit("worker")["Environment"].split("=")

    assert name in Settings.variables()
    assert port.replace("%i", "1") == f"1{METRICS['worker']}"  # the first of a host: ten thousand above the default


def test_units_name_exit_statuses_that_the_code_has():
    sources = [path for package in ("workers", "scheduling") for path in (ROOT / package).rglob("*.py")]
    code = "\n".join(path.read_text() for path in sources)
    ours = set(re.findall(r"^_EXIT_\w+: Final = (\d+)$", code, re.MULTILINE))

    assert all(set(unit(name)["RestartPreventExitStatus"].split()) <= ours for name in UNITS)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd-analyze")
def test_systemd_understands_every_line_of_the_units(tmp_path):
    for path in UNITS.values():
        text = path.read_text().replace("/srv/dutiful/.venv/bin", str(Path(sys.executable).parent))
        (tmp_path / path.name).write_text(text.replace("/srv/dutiful", str(ROOT)).replace("User=dutiful", "User=root"))
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=False
    )

    assert not [line for line in done.stderr.splitlines() if str(tmp_path) in line], done.stderr


# Addresses and rhythms


def addresses():
    """Every service:port that the compose file, Prometheus or Grafana is told."""
    texts = [COMPOSE_FILE, *(ROOT / "deploy/prometheus").glob("*.yml"), *(ROOT / "grafana/provisioning").rglob("*.yml")]
    names = "|".join(sorted(DECLARED, key=len, reverse=True))
    lines = [line for path in texts for line in path.read_text().splitlines() if "image:" not in line]
    return sorted({pair for line in lines for pair in re.findall(rf"(?<![\w.-])({names}):(\d+)\b", line)})


@pytest.mark.parametrize(("service", "port"), addresses())
def test_an_address_of_another_service_leads_to_a_port_that_it_has(service, port):
    assert port in {each.rpartition(":")[2] for each in DECLARED[service]["ports"]}


def test_each_server_that_our_services_need_is_addressed():
    assert {"rabbitmq", "postgres", "worker", "scheduler", "gateway", "alertmanager"} <= {
        name for name, _ in addresses()
    }


def test_grafana_counts_on_the_rhythm_in_which_prometheus_scrapes():
    written = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"]
    source = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]

    assert source["jsonData"]["timeInterval"] == written["scrape_interval"]
    assert compose.seconds(written["scrape_timeout"]) < compose.seconds(written["scrape_interval"])


def test_a_unit_has_the_cores_of_its_processes():
    processes = make_argument_parser().parse_args(unit("worker")["ExecStart"].split()[1:]).processes

    assert unit("worker")["CPUQuota"] == f"{processes * 100}%"
    assert unit("scheduler")["CPUQuota"] == f"{DECLARED['scheduler']['cpus'] * 100:.0f}%"
