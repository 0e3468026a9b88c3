"""Prepares a private PostgreSQL server, which refuses to run as root."""

# ruff: noqa: S603  no shell, and no words from outside
from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

from deploy.local.addresses import LOOPBACK
from deploy.local.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DATA = "/var/lib/postgresql/data"
PORT = 5432


def user() -> str | None:
    """Return whom to run as: nobody else, unless we are root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise StackError(
            "PostgreSQL does not run as root",
            expected="the user postgres, which the PostgreSQL package brings, or an ordinary user",
            received="root, and no user postgres",
        ) from None


def run_as(name: str | None) -> dict[str, Any]:
    """Return what subprocess needs to become another user wholly, groups included."""
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []} if name else {}


def command(program: Path, data: Path, ports: Mapping[int, int], arguments: list[str]) -> list[str]:
    """Return what starts the server on its port, without a socket file."""
    words = arguments[1:] if arguments[:1] == ["postgres"] else arguments
    listen = ["-c", f"listen_addresses={LOOPBACK}", "-c", "unix_socket_directories="]
    return [str(program), "-D", str(data), "-p", str(ports[PORT]), *listen, *words]


def prepare(programs: Path, data: Path, environment: Mapping[str, str], as_user: str | None) -> None:
    """Make the data folder with its role and database, as the image does at its first start."""
    if (data / "PG_VERSION").exists() and (data / "dutiful.ready").exists():
        return
    shutil.rmtree(data, ignore_errors=True)  # a first start that was cut short
    data.mkdir(parents=True)
    data.chmod(0o700)
    if as_user:
        shutil.chown(data, as_user, pwd.getpwnam(as_user).pw_gid)
    with tempfile.NamedTemporaryFile("w", suffix=".password", dir=data.parent) as password:
        password.write(environment["POSTGRES_PASSWORD"])
        password.flush()
        if as_user:
            shutil.chown(password.name, as_user)
        role, secret = environment["POSTGRES_USER"], password.name
        initdb = [str(programs / "initdb"), "-D", str(data), "-U", role, f"--pwfile={secret}"]
        initdb += ["-E", "UTF8", "--locale=C.UTF-8", "--auth-host=scram-sha-256", "--auth-local=reject", "--no-sync"]
        _run(initdb, environment, as_user)
    database = environment.get("POSTGRES_DB", environment["POSTGRES_USER"])
    single = [str(programs / "postgres"), "--single", "-D", str(data), "postgres"]
    _run(single, environment, as_user, answer=f'CREATE DATABASE "{database}"\n')
    (data / "dutiful.ready").touch()


def _run(command: list[str], environment: Mapping[str, str], as_user: str | None, answer: str = "") -> None:
    done = subprocess.run(
        command,
        input=answer,
        env=dict(environment),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        **run_as(as_user),
    )
    if done.returncode != 0:
        raise StackError(
            f"{command[0]} ended with status {done.returncode}",
            expected="0",
            received=(done.stderr or done.stdout).strip()[-500:],
        )
