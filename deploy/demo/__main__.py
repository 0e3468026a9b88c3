"""Shows the whole thing working, and says whether it did: `make demo`.

POSTS=20000   how many posts           KEEP=1                          leave everything up
SEED=7        the same seed, the same feed   BREAK=skip-one|double|ack-first   break it, and see that it is noticed
"""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from rich.console import Console

from deploy.demo.display import Display
from deploy.demo.feed import Shape, first_sound_post
from deploy.demo.hostile import HOSTILE
from deploy.demo.observer import Observer
from deploy.demo.run import BASE_URL, Demo
from deploy.demo.sabotage import KIND, KINDS, VICTIM
from deploy.local import Stack, StackError

CHECKOUT = Path(__file__).resolve().parents[2]
RUN_FOLDER = CHECKOUT / ".run" / "demo"
STOP = f"{sys.executable} -m deploy.local --run-dir {RUN_FOLDER} stop"
FINE, WRONG, USAGE = 0, 1, 2
MANAGEMENT, METRICS, PROMETHEUS = 15672, 9191, 9090
SERVICES = ("rabbitmq", "postgres", "migrate", "worker", "scheduler", "prometheus")


@dataclass(frozen=True)
class Options:
    """What the person who runs the demo wants."""

    posts: int = 20_000
    seed: int = 7
    keep: bool = False
    sabotage: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read them from the environment; make passes its variables there.

        Raises:
          ValueError: one of them can't be used; it says which, and what would be right.
        """
        sabotage = environment.get("BREAK", "")
        if sabotage and sabotage not in KINDS:
            raise ValueError(f"BREAK is one of {', '.join(KINDS)}; received {sabotage!r}. Nothing was started")
        numbers = {}
        for name, least in (("POSTS", 100), ("SEED", 0)):
            given = environment.get(name, "") or str(getattr(cls, name.lower()))
            if not given.isdecimal() or int(given) < least:
                raise ValueError(f"{name} is a whole number from {least} on; received {given!r}. Nothing was started")
            numbers[name.lower()] = int(given)
        keep = environment.get("KEEP", "") not in {"", "0", "no"}
        return cls(numbers["posts"], numbers["seed"], keep, sabotage)


def overrides(site: Path, options: Options, shape: Shape) -> dict[str, dict[str, object]]:
    """Return what the demo changes about the services of docker-compose.yml."""
    environment = {
        "SITE_FEEDS_DIRECTORY": str(site / "feeds"),
        "SITE_PUBLIC_DIRECTORY": str(site / "public"),
        "SITE_BASE_URL": BASE_URL,
        # Enough batches to be disturbed in the middle, however small the feed is.
        "SITE_BATCH_RECORDS": str(min(100, max(5, options.posts // 100))),
        "DUTIFUL_LOGS__SUCCESS_LINES": "false",
    }
    worker: dict[str, object] = {"environment": environment}
    if options.sabotage:
        environment |= {KIND: options.sabotage, VICTIM: first_sound_post(shape)}
        worker["command"] = ["dramatiq", "actors", "deploy.demo.sabotage", "-p", "2", "-t", "8"]
    return {"worker": worker}


def unused_stack() -> Stack:
    """Return the demo's own stack with nothing in it: no logs, data or files of an earlier demo."""
    stack = Stack(RUN_FOLDER)
    if stack.is_running:
        raise StackError("a demo is up already", expected=f"none, so stop it first: {STOP}", received=str(RUN_FOLDER))
    stack.stop(remove=True)
    return stack


def run(options: Options, display: Display) -> int:
    """Bring the stack up, run the demo on it, and return the exit status."""
    stack = unused_stack()
    site = RUN_FOLDER / "site"
    for name in ("feeds", "public"):
        (site / name).mkdir(parents=True)
    shape = Shape(posts=options.posts, seed=options.seed, hostile=len(HOSTILE))
    display.say("starting RabbitMQ, PostgreSQL, worker, scheduler and Prometheus")
    try:
        Stack.start(RUN_FOLDER, services=SERVICES, overrides=overrides(site, options, shape), attached=not options.keep)
        say_where(stack, display)
        with observer_of(stack, stack.url("rabbitmq", MANAGEMENT)) as observer:
            return import_and_check(Demo(stack, observer, site, shape, display, options.sabotage))
    finally:
        if not options.keep:
            display.say("stopping everything")
            stack.stop()
        elif stack.is_running:
            say_where(stack, display)
            display.say(f"everything stays up; stop it with: {STOP}")


def observer_of(stack: Stack, management: str) -> Observer:
    """Return what looks at this stack."""
    addresses = stack.environment
    metrics = stack.url("worker", METRICS) + "/metrics"
    return Observer(addresses["DUTIFUL_STORE__URL"], addresses["DUTIFUL_RABBITMQ__URL"], management, metrics)


def import_and_check(demo: Demo) -> int:
    """Run the demo on a stack that is up, print the figures and the checks, and return the exit status."""
    checks = demo.run()
    demo.display.figures(demo.figures())
    demo.display.checks(checks)
    broken = [check for check in checks if not check.holds]
    if broken:
        demo.display.say(f"[red bold]{len(broken)} of {len(checks)} checks are broken[/red bold]")
        return WRONG
    demo.display.say(f"[green bold]all {len(checks)} checks hold[/green bold]")
    return FINE


def say_where(stack: Stack, display: Display) -> None:
    """Say where to look on."""
    display.say(f"worker's metrics  {stack.url('worker', METRICS)}/metrics")
    display.say(f"Prometheus        {stack.url('prometheus', PROMETHEUS)}")
    display.say(f"RabbitMQ's page   {stack.url('rabbitmq', MANAGEMENT)}; user and password are in")
    display.say(f"                  {stack.environment['DUTIFUL_RABBITMQ__URL']}")


def stopped(number: int, _frame: object) -> NoReturn:
    """End as Ctrl-C does, so that whatever was started is stopped."""
    raise SystemExit(128 + number)


def main() -> int:
    """Run the demo once."""
    console = Console()
    try:
        options = Options.read(os.environ)
    except ValueError as error:
        console.print(f"demo: {error}", markup=False, highlight=False, soft_wrap=True)
        return USAGE
    signal.signal(signal.SIGTERM, stopped)
    display = Display(console)
    try:
        return run(options, display)
    except StackError as error:
        console.print(f"demo: {error}", markup=False, highlight=False, soft_wrap=True)
        return WRONG
    except KeyboardInterrupt:
        display.say("interrupted")
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
