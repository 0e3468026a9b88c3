"""RabbitMQ nodes of our own: alone or as a cluster, to be killed and starved."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from processes import ROOT, until

from deploy.local import ports
from deploy.local.rabbitmq import (
    ADVANCED,
    AMQP,
    CONFIGURATION,
    DATA,
    DISTRIBUTION,
    EPMD,
    MANAGEMENT,
    METRICS,
    PLUGINS,
    prepare,
)

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
HEADER = b"AMQP\x00\x00\x09\x01"


class Node:
    """One node in a process group of its own."""

    def __init__(self, name, folder, epmd_port, cookie):
        self.name, self.folder = name, folder
        self.port, management, metrics, distribution = ports.choose(4)
        real = {AMQP: self.port, MANAGEMENT: management, METRICS: metrics, DISTRIBUTION: distribution, EPMD: epmd_port}
        plugins = folder / "enabled_plugins"
        data = folder / "data"
        data.mkdir(parents=True)
        plugins.write_text("[].\n")
        (data / ".erlang.cookie").write_text(cookie)
        (data / ".erlang.cookie").chmod(0o400)
        shipped = ROOT / "deploy/rabbitmq"
        configured = {CONFIGURATION: shipped / "rabbitmq.conf", ADVANCED: shipped / "advanced.config"}
        paths = {DATA: data, PLUGINS: plugins, **configured}
        self.environment = os.environ | prepare(folder, real, paths) | {"RABBITMQ_NODENAME": f"{name}@localhost"}
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"
        self.process = None

    def start(self):
        self.boot()
        self.wait()

    def boot(self):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAMS / "rabbitmq-server"], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self):
        until(self.answers, seconds=90, what=f"{self.name} did not start: {self.log()}")

    def answers(self):
        """An open port is not enough: a node that boots takes connections and says nothing."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2) as link:
            link.sendall(HEADER)
            return bool(link.recv(7))
        return False

    def log(self):
        return (self.folder / "log").read_text()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def rabbitmqctl(node, *arguments):
    command = [PROGRAMS / "rabbitmqctl", *arguments]
    done = subprocess.run(command, env=node.environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def memory_alarm(node):
    """RabbitMQ takes no message until the block ends."""
    rabbitmqctl(node, "set_vm_memory_high_watermark", "absolute", "1")
    try:
        yield
    finally:
        rabbitmqctl(node, "set_vm_memory_high_watermark", "0.4")


@contextlib.contextmanager
def running(folder, names):
    """Nodes that find each other through an epmd of their own; several become one cluster."""
    (epmd_port,) = ports.choose(1)
    epmd = subprocess.Popen(["epmd", "-address", "127.0.0.1", "-port", str(epmd_port)])
    nodes = []
    try:
        nodes += [Node(name, folder / name, epmd_port, "of-these-nodes") for name in names]
        for node in nodes:
            node.boot()
        for node in nodes:
            node.wait()
        for node in nodes[1:]:
            rabbitmqctl(node, "stop_app")
            rabbitmqctl(node, "join_cluster", f"{nodes[0].name}@localhost")
            rabbitmqctl(node, "start_app")
        yield nodes
    finally:
        for node in nodes:
            if node.process is not None:
                node.kill()
        epmd.kill()
        epmd.wait()


def online(nodes, queue):
    """How many members of a quorum queue take part; a node that is up may still be catching up."""
    alive = next(node for node in nodes if node.process.poll() is None)
    for line in rabbitmqctl(alive, "-q", "list_queues", "name", "online").splitlines():
        name, _, members = line.partition("\t")
        if name == queue:
            return members.count("@")
    return 0


def leader(nodes, queue):
    """The node that leads a quorum queue, asked of whoever is alive."""
    alive = next(node for node in nodes if node.process.poll() is None)
    for line in rabbitmqctl(alive, "-q", "list_queues", "name", "leader").splitlines():
        name, _, where = line.partition("\t")
        if name == queue:
            return next(node for node in nodes if where == f"{node.name}@localhost")
    raise AssertionError(f"no queue {queue} at {time.ctime()}")
