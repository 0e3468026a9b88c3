"""The publisher's wheel, built and installed as another service does it."""

import subprocess
import sys
import venv

import pika
from processes import ROOT, Queue

from workers.transport import topology


def environment_with_the_wheel(folder, *packages):
    """A bare virtual environment with the wheel, what it asks for, and other packages: its folder of programs."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT / "deploy/publisher", check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("dutiful_publisher-*.whl")
    venv.create(folder / "venv", with_pip=False)
    programs = folder / "venv/bin"
    install = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", str(programs / "python")]
    subprocess.run([*install, str(wheel), *packages], check=True, capture_output=True, timeout=180)
    return programs


def declared(url, name):
    """A queue, and what every vhost of dutiful has, with nobody who reads it."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        topology.declare_vhost(channel)
        topology.declare_queue(channel, name)
    return Queue(url, name)
