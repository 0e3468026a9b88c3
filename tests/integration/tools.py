"""Programs of other languages that tests publish with."""

import os
import shutil
import subprocess

import pytest


def require(*commands):
    """Skip on a laptop without them; in CI their absence is a failure."""
    missing = ", ".join(command for command in commands if shutil.which(command) is None)
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{missing} not installed")


def install_amqplib(folder):
    """Node's AMQP client, into a folder."""
    require("node", "npm")
    options = ["--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000"]
    done = subprocess.run(
        ["npm", "install", *options, "amqplib@0.10"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"amqplib can't be installed: {done.stderr[-200:]}")
