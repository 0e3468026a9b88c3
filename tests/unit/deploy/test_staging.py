"""The configuration of a host is verified before anything starts there."""

import subprocess
import sys

import pytest

from deploy.local.folders import CHECKOUT, COMPOSE_FILE
from deploy.setup.passwords import needed

PASSWORD = "abcdefgh12345678"
RIGHT = {"DUTIFUL_ENVIRONMENT": "staging"} | dict.fromkeys(needed(COMPOSE_FILE), PASSWORD)


def verify(tmp_path, **changes):
    file = tmp_path / "host.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in (RIGHT | changes).items()))
    command = [sys.executable, "-m", "deploy.release.staging", str(file)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_host_with_all_that_is_needed_is_right(tmp_path):
    status, said = verify(tmp_path)

    assert status == 0, said


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("DUTIFUL_ENVIRONMENT", "development", "DUTIFUL_ENVIRONMENT must be one of staging, production"),
        ("DUTIFUL_ENVIRONMENT", "stagging", "DUTIFUL_ENVIRONMENT"),
        ("POSTGRES_PASSWORD", "", "POSTGRES_PASSWORD must be 16 letters and digits"),
        ("RABBITMQ_PASSWORD", "dutiful", "RABBITMQ_PASSWORD must be"),
        ("RABBITMQ_WORKER_PASSWORD", "", "RABBITMQ_WORKER_PASSWORD must be"),
        ("GRAFANA_PASSWORD", "with/slashes@and:colons", "GRAFANA_PASSWORD must be"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, value, named):
    status, said = verify(tmp_path, **{name: value})

    assert status == 1
    assert named in said
    assert not value or name == "DUTIFUL_ENVIRONMENT" or value not in said.replace("dutiful.", "")


def test_a_file_that_is_not_there_is_named(tmp_path):
    command = [sys.executable, "-m", "deploy.release.staging", str(tmp_path / "none.env")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "there is no" in done.stdout
