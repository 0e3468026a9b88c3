"""Runs the services of docker-compose.yml on this host without Docker.

    python -m deploy.local up [SERVICE ...]      start, wait until healthy, say where everything is
    python -m deploy.local status | logs | kill | restart | stop | env

`--run-dir` chooses another stack than the checkout's own; each has its own ports and data.
"""

# ruff: noqa: T201, S603  it speaks to a person; no command comes from outside
from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local import Stack, StackError, screen
from deploy.local.folders import CHECKOUT, DEFAULT_RUN_FOLDER
from deploy.local.reload import Reload

if TYPE_CHECKING:
    from collections.abc import Callable


def up(options: argparse.Namespace) -> int:
    """Start services and leave them running; in the foreground, show their logs and stop them on Ctrl-C."""
    say: Callable[[str], None] = screen.nothing if options.json else print
    before = screen.sizes(Stack(options.run_dir))
    stack = Stack.start(
        options.run_dir,
        services=options.services,
        overrides=overrides(options.set),
        attached=options.foreground,
        wait=not options.no_wait,
        timeout=options.timeout,
        say=say,
    )
    if options.json:
        print(json.dumps({"services": stack.status(), "environment": stack.environment}, indent=1))
    else:
        screen.preparations(stack, before)
        screen.places(stack)
    if not options.foreground:
        return 0
    print("\nCtrl-C stops everything.\n", flush=True)
    with stack:
        reload = Reload(stack, options.reload)
        _until_interrupted(lambda: screen.follow(stack, options.follow, reload.look))
        print("\nStopping ...", flush=True)
    return 0


def status(options: argparse.Namespace) -> int:
    """Show each service; status 1 when the stack does not run."""
    stack = Stack(options.run_dir)
    if not stack.is_running:
        print("{}" if options.json else f"No stack runs in {stack.run_folder}. `make up` starts it.")
        return 1
    services = stack.status()
    print(json.dumps(services, indent=1)) if options.json else screen.table(services)
    return 0


def logs(options: argparse.Namespace) -> int:
    """Show the logs of the services named, or of all."""
    stack = Stack(options.run_dir)
    if options.follow:
        _until_interrupted(lambda: screen.follow(stack, options.services))
        return 0
    for name in options.services or screen.logged(stack):
        print(f"--- {name} ---\n{stack.logs(name, options.lines)}")
    return 0


def kill(options: argparse.Namespace) -> int:
    """Send a signal to a service, or to one process below it."""
    number = signal.Signals[f"SIG{options.signal.upper().removeprefix('SIG')}"]
    pid = Stack(options.run_dir).kill(options.service, child=options.child, number=number)
    print(f"{number.name} sent to process {pid} of {options.service}")
    return 0


def restart(options: argparse.Namespace) -> int:
    """Stop services in good order, start them, wait until they are healthy."""
    stack = Stack(options.run_dir)
    stack.restart_service(*options.services)
    stack.wait_healthy(*options.services, say=print)
    return 0


def stop(options: argparse.Namespace) -> int:
    """Stop the whole stack, or only the services named."""
    stack = Stack(options.run_dir)
    if options.services:
        stack.stop_service(*options.services)
    else:
        stack.stop(remove=options.remove)
        print("Stopped." if not options.remove else "Stopped, data removed.")
    return 0


def env(options: argparse.Namespace) -> int:
    """Print lines for a shell: eval "$(python -m deploy.local env)"."""
    for name, value in Stack(options.run_dir).environment.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a command with the environment that reaches the stack."""
    stack = Stack(options.run_dir)
    return subprocess.run(options.command, env=screen.shell_environment(stack), check=False).returncode


def clean(_options: argparse.Namespace) -> int:
    """Remove the data of every stack of this checkout; refused while one runs."""
    stacks = [Stack(record.parent) for depth in ("*", "*/*") for record in CHECKOUT.glob(f".run/{depth}/stack.json")]
    for stack in stacks:
        if stack.is_running:
            raise StackError(
                "a stack runs, so nothing was removed",
                expected=f"{sys.executable} -m deploy.local --run-dir {stack.run_folder} stop, first",
                received=str(stack.run_folder),
                safe_to_retry=True,
            )
    for stack in stacks:
        stack.stop(remove=True)
    return 0


def overrides(settings: list[str]) -> dict[str, dict[str, Any]]:
    """Read worker.environment.NAME=value and worker.command='dramatiq actors'."""
    changes: dict[str, dict[str, Any]] = {}
    for setting in settings:
        where, equals, value = setting.partition("=")
        service, *key = where.split(".", 2)
        if not equals or not key or (key[0] == "environment") != (len(key) == 2):  # noqa: PLR2004  NAME and value
            raise StackError(
                "--set can't be read", expected="SERVICE.environment.NAME=VALUE or SERVICE.KEY=VALUE", received=setting
            )
        change = changes.setdefault(service, {})
        if len(key) == 1:
            change[key[0]] = value
        else:
            change.setdefault("environment", {})[key[1]] = value
    return changes


def _until_interrupted(action: Callable[[], None]) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        action()


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    top = argparse.ArgumentParser(prog="python -m deploy.local", description=(__doc__ or "").splitlines()[0])
    top.add_argument(
        "--run-dir", "--run-folder", type=Path, default=DEFAULT_RUN_FOLDER, help="where the stack keeps its files"
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(action: Callable[[argparse.Namespace], int], services: str | None = None) -> argparse.ArgumentParser:
        new = commands.add_parser(action.__name__, help=(action.__doc__ or "").splitlines()[0])
        new.set_defaults(action=action)
        if services:
            new.add_argument("services", nargs=services, metavar="SERVICE")
        return new

    _add_options_of_up(command(up, "*"))
    command(status).add_argument("--json", action="store_true")
    showing = command(logs, "*")
    showing.add_argument("--follow", action="store_true")
    showing.add_argument("--lines", type=int, help="only the last ones")
    killing = command(kill)
    killing.add_argument("service", metavar="SERVICE")
    killing.add_argument("--signal", default="KILL")
    killing.add_argument("--child", type=int, help="number of a process below the main one, from 0")
    command(restart, "+")
    stopping = command(stop, "*")
    stopping.add_argument("--remove", action="store_true", help="remove the data too")
    command(env)
    command(clean)
    command(run).add_argument("command", nargs=argparse.REMAINDER)
    return top


def _add_options_of_up(starting: argparse.ArgumentParser) -> None:
    starting.add_argument("--json", action="store_true")
    starting.add_argument("--set", action="append", default=[], metavar="SERVICE.environment.NAME=VALUE")
    starting.add_argument("--no-wait", action="store_true", help="don't wait until the services are healthy")
    starting.add_argument("--timeout", type=float, default=180.0, help="seconds to wait")
    starting.add_argument("--foreground", action="store_true", help="show logs; Ctrl-C stops everything")
    starting.add_argument(
        "--follow", action="append", default=[], metavar="SERVICE", help="in the foreground, only these"
    )
    starting.add_argument(
        "--reload", action="append", default=[], metavar="SERVICE", help="restart on a change of code"
    )


def main() -> int:
    """Do what the command line says; every refusal is one readable message."""
    options = parser().parse_args()
    try:
        status: int = options.action(options)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
