"""Node for tests that publish from there: both it and npm are in the virtual environment, locked as all else is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(sys.executable).parent
LOCKED = Path(__file__).parent / "node_client"


def install_amqplib(folder):
    """Node's AMQP client into a folder, by docs/publishing.md's command; node_client/ has its version and hashes."""
    shutil.copytree(LOCKED, folder, dirs_exist_ok=True)
    options = ["--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000"]
    command = [PROGRAMS / "npm", "install", *options, "amqplib@0.10"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:  # no way to npm's registry: a laptop on a train
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"amqplib can't be installed: {done.stderr[-200:]}")
