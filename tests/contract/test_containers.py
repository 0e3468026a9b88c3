"""What only containers read of docker-compose.yml and Dockerfile fits the rest: nothing here runs it."""

import re
import subprocess
from functools import reduce
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
import yaml
from pip._internal.commands import create_command

from deploy.local import compose, postgres, rabbitmq
from deploy.local.folders import COMPOSE_FILE
from deploy.release import staging
from workers.doctor.rabbitmq import OLDEST

ROOT = Path(__file__).parents[2]
DOCUMENT = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES = DOCUMENT["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"] == staging.OURS}
LASTING = {name: each for name, each in SERVICES.items() if "healthcheck" in each}
SERVING = {name: each for name, each in OURS.items() if name in LASTING}
CONFIGURED = ("rabbitmq", "prometheus", "alertmanager", "grafana")
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
RUNNING = (ROOT / "docs/running.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
HOST_MEGABYTES = 8192  # the whole stack fits a host of so much


def megabytes(text):
    number, unit = re.fullmatch(r"(\d+)([mg])", text).groups()
    return int(number) * {"m": 1, "g": 1024}[unit]


def number(pattern, text):
    (found,) = re.findall(pattern, text, re.MULTILINE)
    return float(found)


def targets(name):
    """Each mount of a service: what is mounted, where, and how."""
    return [[*mount.split(":"), "rw"][:3] for mount in SERVICES[name].get("volumes", ())]


# What all have


def test_the_stack_has_the_project_s_name_and_rabbitmq_that_of_its_service():
    assert DOCUMENT["name"] == "dutiful"
    assert SERVICES["rabbitmq"]["hostname"] == "rabbitmq", "the others call it so, and its data carries the name"


@pytest.mark.parametrize("name", SERVICES)
def test_logs_of_a_container_are_bounded_to_what_a_disk_can_spare(name):
    told = SERVICES[name]["logging"]

    assert told["driver"] == "json-file"
    assert 20 <= megabytes(told["options"]["max-size"]) * int(told["options"]["max-file"]) <= 100


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_built_here_and_can_write_only_to_a_small_folder_in_memory(name):
    told = SERVICES[name]

    assert (ROOT / told["build"]["context"] / told["build"]["dockerfile"]).samefile(ROOT / "deploy/Dockerfile")
    assert told["init"] is told["read_only"] is True
    (size,) = re.fullmatch(r"/tmp:size=(\d+m)", *told["tmpfs"]).groups()
    assert 64 <= megabytes(size) <= megabytes(told["mem_limit"]) / 4, "it counts as the container's memory"


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_told_the_same_and_as_who_they_log_in(name):
    told, common = SERVICES[name], DOCUMENT["x-environment"]

    assert told["build"] == DOCUMENT["x-dutiful"]["build"]
    assert told["environment"].keys() >= common.keys()
    differ = {key for key, value in common.items() if told["environment"][key] != value}
    assert differ == ({"DUTIFUL_RABBITMQ__URL"} if name == "operator" else set())
    if name not in LASTING:
        assert told["stop_grace_period"] == SERVICES["worker"]["stop_grace_period"]


def test_all_limits_together_fit_a_host_and_none_is_more_than_its_service_is_worth():
    limits = {name: megabytes(each["mem_limit"]) for name, each in LASTING.items()}

    assert sum(limits.values()) <= HOST_MEGABYTES
    assert all(0.5 <= each["cpus"] <= 2 for each in SERVICES.values())
    for name in ("scheduler", "gateway"):
        idle = number(rf"^\| {name} \| (\d+) MB \|$", RUNNING)
        assert 2 * idle <= limits[name] <= 8 * idle


def test_rabbitmq_has_twice_the_memory_at_which_it_stops_publishers():
    configuration = (ROOT / "deploy/rabbitmq/rabbitmq.conf").read_text()
    watermark = number(r"^vm_memory_high_watermark\.absolute = (\d+)GB$", configuration)

    assert megabytes(SERVICES["rabbitmq"]["mem_limit"]) == 2 * 1024 * watermark


@pytest.mark.parametrize("name", LASTING)
def test_a_service_that_stands_still_is_red_within_a_minute_and_a_half_and_has_time_to_start(name):
    check = SERVICES[name]["healthcheck"]
    times = {key: compose.seconds(check[key]) for key in ("interval", "timeout", "start_period")}
    asked = [float(wait) for wait in re.findall(r"(?:timeout=|-t )(\d+)", " ".join(check["test"]))]

    assert check["test"][0] == "CMD"
    assert 4 <= check["retries"] <= 5
    assert 40 <= check["retries"] * times["interval"] <= 90
    assert 3 < times["timeout"] <= times["interval"]
    assert all(wait < times["timeout"] for wait in asked), "else the check is killed before it says why"
    assert 30 <= times["start_period"] <= 60
    assert 15 <= compose.seconds(SERVICES[name]["stop_grace_period"]) <= 60


@pytest.mark.parametrize("name", SERVICES)
def test_a_port_is_published_under_its_own_number_but_for_the_second_scheduler(name):
    for port in SERVICES[name].get("ports", ()):
        address, outside, inside = port.split(":")
        assert address == "127.0.0.1"
        assert int(outside) - int(inside) == (name == "scheduler-2")


@pytest.mark.parametrize("name", CONFIGURED)
def test_what_lies_in_the_checkout_can_be_read_only(name):
    assert {how for source, _, how in targets(name) if source.startswith("./")} == {"ro"}
    assert {how for source, _, how in targets(name) if not source.startswith("./")} <= {"rw"}


# The servers


def test_the_servers_find_their_files_where_their_stand_ins_look_for_them():
    assert {there for _, there, _ in targets("rabbitmq")} == {
        rabbitmq.CONFIGURATION,
        rabbitmq.ADVANCED,
        rabbitmq.PLUGINS,
        rabbitmq.DATA,
    }
    assert [there for _, there, _ in targets("postgres")] == [postgres.DATA]


def test_rabbitmq_is_a_release_that_this_was_run_on_and_has_its_management_page():
    version, variant = re.fullmatch(r"rabbitmq:(\d+\.\d+)\.\d+-(\w+)", SERVICES["rabbitmq"]["image"]).groups()

    assert variant == "management"
    assert tuple(map(int, version.split("."))) >= OLDEST
    assert f"{version} are those that this was run on" in " ".join(RUNNING.split())


@pytest.mark.parametrize(
    ("name", "least"), [("postgres", (13, 0)), ("prometheus", (3, 0)), ("alertmanager", (0, 27)), ("grafana", (10, 0))]
)
def test_a_server_is_a_release_that_has_what_its_configuration_asks_for(name, least):
    image, _, version = SERVICES[name]["image"].partition(":")

    assert image in {"postgres", f"prom/{name}", f"grafana/{name}"}
    found = tuple(map(int, re.fullmatch(r"v?(\d+)\.(\d+)(?:\.\d+)?", version).groups()))
    assert least <= found < (least[0] + 10, 0)


@pytest.mark.parametrize(("status", "red"), [(200, 0), (503, 1)])
def test_the_check_of_rabbitmq_is_green_where_its_page_answers(status, red):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        *bash, text = SERVICES["rabbitmq"]["healthcheck"]["test"][1:]
        there = re.sub(r"\b1?5672\b", str(server.server_port), text.replace("$$", "$"))
        done = subprocess.run([*bash, there], check=False, capture_output=True, timeout=10)
        server.shutdown()

    assert done.returncode == red, done.stderr


@pytest.mark.parametrize(
    ("name", "page"),
    [("prometheus", ":9090/-/ready"), ("alertmanager", ":9093/-/ready"), ("grafana", ":3000/api/health")],
)
def test_the_check_of_a_server_is_one_that_its_image_can_run(name, page):
    assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "wget", "-q", "--spider", f"http://127.0.0.1{page}"]


@pytest.mark.parametrize("name", SERVING)
def test_the_check_of_our_services_asks_for_their_health(name):
    program, option, text = SERVICES[name]["healthcheck"]["test"][1:]
    (port,) = {port.rpartition(":")[2] for port in SERVICES[name]["ports"]}

    assert (program, option) == ("python", "-c")
    assert text == f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/health', timeout=4)"


def options(name):
    """The options of a server's command."""
    return dict(word.removeprefix("--").partition("=")[::2] for word in SERVICES[name]["command"])


def test_prometheus_is_told_its_files_and_what_its_configuration_needs():
    told = options("prometheus")
    written = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    mounted = {there: source for source, there, _ in targets("prometheus")}

    assert told.keys() == {"config.file", "storage.tsdb.path", "web.listen-address", "enable-feature"}
    assert mounted[told["config.file"]] == "./deploy/prometheus/prometheus.yml"
    assert mounted[told["storage.tsdb.path"]] == "prometheus-data"
    (variable,) = re.findall(r"\$\{(\w+)\}", written)
    assert told["enable-feature"] == "expand-external-labels"
    assert SERVICES["prometheus"]["environment"] == {variable: f"${{{variable}:-development}}"}


def test_alertmanager_is_alone_and_told_its_files():
    told = options("alertmanager")
    mounted = {there: source for source, there, _ in targets("alertmanager")}

    assert told.keys() == {"config.file", "storage.path", "cluster.listen-address", "web.listen-address"}
    assert mounted[told["config.file"]] == "./deploy/alertmanager/alertmanager.yml"
    assert mounted[told["storage.path"]] == "alertmanager-data"
    assert told["cluster.listen-address"] == ""


def test_grafana_finds_its_dashboards_and_prometheus_and_who_looks_may_only_look():
    told = SERVICES["grafana"]["environment"]
    mounted = {source: there for source, there, _ in targets("grafana")}
    provider = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/dutiful.yml").read_text())["providers"][0]
    source = (ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text()

    assert mounted == {
        "./grafana/provisioning": "/etc/grafana/provisioning",
        "./grafana/dashboards": provider["options"]["path"],
    }
    (variable,) = re.findall(r"\$\{(\w+)\}", source)
    assert told.pop(variable) == "http://prometheus:9090"
    assert told == {
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_SECURITY_ADMIN_PASSWORD": "${GRAFANA_PASSWORD:?run make env}",
    }
    assert SERVICES["grafana"]["depends_on"] == {"prometheus": {"condition": "service_healthy"}}
    for name in ("prometheus", "alertmanager"):
        assert "depends_on" not in SERVICES[name]


def test_postgresql_is_asked_for_the_database_that_the_services_use():
    told = SERVICES["postgres"]["environment"]
    address = SERVICES["worker"]["environment"]["DUTIFUL_STORE__URL"]
    (check,) = [word for word in SERVICES["postgres"]["healthcheck"]["test"] if "://" in word]

    assert told["POSTGRES_PASSWORD"] == "${POSTGRES_PASSWORD:?run make env}"
    login = f"{told['POSTGRES_USER']}:{told['POSTGRES_PASSWORD']}"
    assert address == f"postgresql+psycopg://{login}@postgres:5432/{told['POSTGRES_DB']}"
    assert check == f"postgresql://127.0.0.1:5432/{told['POSTGRES_DB']}"
    assert SERVICES["postgres"]["healthcheck"]["test"][1:-1] == ["pg_isready", "--quiet", "--dbname"]


# Our services


def test_the_gateway_s_command_is_the_one_that_the_manual_shows_and_uvicorn_takes():
    command = SERVICES["gateway"]["command"]
    told = SERVICES["gateway"]["environment"]
    module, _, factory = command[1].partition(":")
    known = {option: each for each in uvicorn.main.params for option in (*each.opts, *each.secondary_opts)}

    assert callable(getattr(import_module(module), factory))
    assert {word for word in command if word.startswith("--")} <= known.keys()
    assert " ".join(command) in OPERATIONS.replace(f" --port {told['UVICORN_PORT']}", "")
    assert {f"UVICORN_{known[option].name.upper()}" for option in ("--host", "--port")} <= told.keys()
    assert told["UVICORN_HOST"] == "0.0.0.0"
    assert [f"127.0.0.1:8000:{told['UVICORN_PORT']}"] == SERVICES["gateway"]["ports"]


def test_the_worker_reads_feeds_of_this_host_and_keeps_what_it_writes():
    assert SERVICES["worker"]["volumes"] == ["${FEEDS:-./feeds}:/srv/feeds:ro", "public:/srv/public"]


# The image


def test_the_image_is_given_all_that_it_copies():
    """.dockerignore leaves everything out but what it names."""
    first, *named = (ROOT / ".dockerignore").read_text().split()
    copied = {
        source for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for source in line.split()
    }

    assert first == "*"
    assert copied == {line.removeprefix("!") for line in named if line.startswith("!")}


def test_every_path_of_the_image_is_made_before_it_is_used():
    made = {"/tmp", "/app", "/wheels", "/home/dutiful"}
    made |= set(re.findall(r"-m venv (?:--without-pip )?(/\w+)", DOCKERFILE))
    made |= set(reduce(str.__add__, re.findall(r"install --directory \S+((?: /\S+)+)", DOCKERFILE)).split())
    used = set(re.findall(r"(?<![\w./=-])(/(?:srv/|home/)?\w+)", re.sub(r"^#.*$", "", DOCKERFILE, flags=re.MULTILINE)))

    assert used <= made, used - made
    assert re.search(r"^COPY --from=build /venv /venv$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^FROM \S+ AS build$", DOCKERFILE, re.MULTILINE)
    assert re.search(
        r"^ENV PATH=/venv/bin:\$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1$", DOCKERFILE, re.MULTILINE
    )


def instructions():
    """Each instruction of the Dockerfile and its words, on one line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line]


def runs():
    """Each command that building the image runs, as words."""
    return [part.split() for name, text in instructions() if name == "RUN" for part in text.split(" && ")]


def of_pip():
    """What pip is told to do, with its options as pip itself reads them."""
    for program, *words in runs():
        if program == "/build/bin/pip":
            if words[0] == "--python":
                assert words.pop(1) == "/venv/bin/python"
                words.pop(0)
            yield words[0], *create_command(words[0]).parser.parse_args(words[1:])


def test_the_dockerfile_has_instructions_and_programs_that_there_are():
    expected = "FROM WORKDIR COPY RUN COPY COPY COPY COPY RUN FROM ENV RUN COPY ARG ENV LABEL USER WORKDIR CMD"

    assert [name for name, _ in instructions()] == expected.split()
    assert [words[0] for words in runs()] == ["python"] * 2 + ["/build/bin/pip"] * 4 + ["useradd", "install"]
    assert {
        words.removesuffix(" AS build").rpartition("-slim-")[2] for name, words in instructions() if name == "FROM"
    } == {"bookworm"}
    assert ["LABEL", "org.opencontainers.image.revision=$REVISION"] in instructions()


def test_the_image_s_user_has_the_home_in_which_it_starts():
    (add,) = [words for words in runs() if words[0] == "useradd"]
    user, home = (words for name, words in instructions()[-3:-1])

    assert add == ["useradd", "--system", "--uid", "10001", "--create-home", user]
    assert home == f"/home/{user}"


def test_pip_is_told_what_it_understands_and_installs_nothing_that_is_not_locked_or_made_here():
    told = list(of_pip())

    assert [(what, chosen.requirements, rest) for what, chosen, rest in told] == [
        ("install", ["build.lock"], []),
        ("install", ["requirements.lock"], []),
        ("wheel", [], ["."]),
        ("install", [], ["/wheels/*.whl"]),
    ]
    assert all(chosen.cache_dir is False for _, chosen, _ in told), "the image keeps no downloads"
    assert all(chosen.require_hashes and ":all:" in chosen.format_control.only_binary for _, chosen, _ in told[:2])
    assert all(chosen.ignore_dependencies for _, chosen, _ in told[2:])
    assert told[2][1].build_isolation is False
    assert told[2][1].wheel_dir == "/wheels"
    assert told[3][1].no_index
