"""Rehearses one release: deploy, upgrade, check, roll back, all under load, then count."""

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.demo.checks import Check
from deploy.local import Stack, StackError
from deploy.rehearsal import ledger
from deploy.rehearsal.build import build, changed, point
from deploy.rehearsal.ledger import Published
from deploy.rehearsal.load import LINGERING, Load
from deploy.rehearsal.options import Options
from deploy.rehearsal.report import Report, Step
from deploy.rehearsal.site import GRACE_SECONDS, ONE_SHOT, SERVICES, Site, is_fine, link, overrides, spoken

NOW, NEXT = "now", "next"
OVERLAYS = {NOW: [NOW], NEXT: [NOW, NEXT]}
QUEUES = ("rehearsal", "rehearsal-long", "rehearsal-next")
NAMED_ERROR = re.compile(r"^(?:error: .+|[\w.]+(?:Error|Failure|Unavailable): .+)$", re.MULTILINE)
LEAST_JOBS = 10
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.2
LINGER_SECONDS = GRACE_SECONDS + 3.0


@dataclass
class Rehearsal:
    """One rehearsal.

    Parameters:
      folder: its own; what an earlier one left there goes.
      say: is told each step as it ends.
      changes: to the services of docker-compose.yml, such as other servers.
    """

    folder: Path
    options: Options
    say: Callable[[str], None]
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    _moments: list[tuple[str, float]] = field(default_factory=list)

    @property
    def stack_folder(self) -> Path:
        """Where the stack keeps its files."""
        return self.folder / "stack"

    def run(self) -> Report:
        """Do all of it; whatever happens, the stack is stopped and the report written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._build()
            with self._stack() as stack:
                site = Site(self.folder, stack)
                try:
                    self._rehearse(site)
                finally:
                    site.close()
        except StackError as error:
            self.report.refused = self.report.refused or str(error)
        finally:
            self.report.write(self.folder)
        return self.report

    def _release(self, name: str) -> Path:
        return self.folder / "releases" / name

    def _build(self) -> None:
        with self._step("releases built") as step:
            extra = [self.options.sabotage] if self.options.sabotage else []
            for name, overlays in OVERLAYS.items():
                more = extra if name == NEXT else []
                self.report.releases[name] = build(self._release(name), name, [*overlays, *more])
            self.report.differ = changed(self._release(NOW), self._release(NEXT))
            for service in SERVICES:
                point(link(self.folder, service), self._release(NOW))
            step.found = f"{len(self.report.differ)} files differ"

    @contextmanager
    def _stack(self) -> Iterator[Stack]:
        with self._step("stack started with the release of now"):
            stack = Stack(self.stack_folder)
            stack.stop(remove=True)
            changes = overrides(self.folder, self.changes)
            Stack.start(self.stack_folder, services=SERVICES, overrides=changes)
        try:
            yield stack
        finally:
            stack.stop()  # in good order: its logs stay until the next rehearsal

    def _rehearse(self, site: Site) -> None:
        with Load(site.environment["DUTIFUL_RABBITMQ__URL"], self.options.rate) as load:
            self._under_load(site, load)
        self._count(site, load)

    def _under_load(self, site: Site, load: Load) -> None:
        self._work(site, "the release of now works")
        before = self._ask(site, "before")
        if not self._upgrade(site, load):
            self._work(site, "the release of now goes on")
            self._ask(site, "after it was refused")
            return
        load.speaks_next = True  # publishers follow the workers
        self._work(site, "the next release works, and publishers use it")
        self._ask(site, "after the upgrade", before)
        load.speaks_next = False  # and go back before them
        self._drain(site, load)
        for service in reversed(SERVICES):  # the scheduler first; the schema stays, and the old release leaves it alone
            self._replace(site, load, service, NOW)
        self._work(site, "the release of now works again")
        self._ask(site, "after the way back")

    def _upgrade(self, site: Site, load: Load) -> bool:
        """Bring the next release up; where a service does not start, put back what was replaced."""
        for number, service in enumerate(SERVICES):
            try:
                self._replace(site, load, service, NEXT)
            except StackError as error:
                self.report.refused = f"{service} of the next release did not start: {_reason(error)}"
                self.say(self.report.refused)
                point(link(self.folder, service), self._release(NOW))
                for back in reversed([each for each in SERVICES[: number + 1] if each not in ONE_SHOT]):
                    self._replace(site, load, back, NOW)
                return False
        return True

    def _replace(self, site: Site, load: Load, service: str, release: str) -> None:
        if service == "worker":  # it is stopped while a job runs that takes longer than it waits
            load.linger(LINGER_SECONDS)
            self._wait(lambda: ledger.runs(site.engine, "rehearsal.linger"))
        with self._step(f"{service}: release {release}"):
            site.replace(service, self._release(release))

    def _work(self, site: Site, name: str) -> None:
        """Let a release work; some jobs have to be done meanwhile."""
        with self._step(name) as step:
            before, ends = ledger.done(site.engine), time.monotonic() + self.options.seconds
            self._until(lambda: ledger.done(site.engine) >= before + LEAST_JOBS, f"jobs stand still: {name}")
            time.sleep(max(0.0, ends - time.monotonic()))
            step.found = f"{ledger.done(site.engine) - before:,} jobs done"

    def _drain(self, site: Site, load: Load) -> None:
        """Wait for the jobs that only the next release understands."""
        with self._step("jobs in the next release's form have ended") as step:
            time.sleep(POLL_SECONDS)  # one may be on its way to RabbitMQ
            self._until(lambda: self._followed(site) >= load.noted, "jobs of the next release stand still")
            step.found = f"{len(load.noted):,} of them"

    def _followed(self, site: Site) -> set[int]:
        return {entry.n for entry in ledger.entries(site.engine) if entry.job == "follow"}

    def _ask(self, site: Site, moment: str, compare: Path | None = None) -> Path:
        """Ask the four questions; the file with the answer can be compared with later."""
        file = self.folder / f"status-{moment.replace(' ', '-')}.json"
        with self._step(f"the four questions {moment}") as step:
            answer, earlier = site.status(_release(moment), compare)
            step.found = str(answer.get("verdict")) + (f"; it had said: {earlier}" if earlier else "")
        self.report.status[moment] = answer
        file.write_text(json.dumps(answer))
        return file

    def _count(self, site: Site, load: Load) -> None:
        """Wait until everything has ended, then say what must hold."""
        jobs = load.published + len(load.noted) + load.lingering
        with self._step("everything has ended") as step:
            ended = self._wait(lambda: ledger.done(site.engine) >= jobs)
            self._wait(lambda: not any(site.depths(*QUEUES[:2]).values()), 10.0)
            step.found = f"{load.published:,} jobs at {load.published / max(load.seconds, 0.1):.0f}/s; " + (
                "all done" if ended else f"{ledger.done(site.engine):,} of {jobs:,} done"
            )
        self.report.load = {"rate": self.options.rate, "published": load.published, "seconds": load.seconds}
        found = ledger.entries(site.engine)
        published = Published(range(load.published), sorted(load.noted), range(LINGERING, LINGERING + load.lingering))
        dead = site.depths(*(f"{queue}.XQ" for queue in (*QUEUES, "content", "site")))
        left = site.depths(*QUEUES[:2])  # the last is the next release's own: a probe may wait for it there
        self.report.checks = [
            *ledger.checks(published, found, ledger.keys(site.engine), dead, left),
            *self._more_checks(site, load),
        ]
        self._waits(found)

    def _more_checks(self, site: Site, load: Load) -> list[Check]:
        retried, interrupted = site.said("job_retried"), site.said("job_interrupted")
        publishing = load.failure or "never refused"
        checks = [
            Check("no attempt failed", "0", str(retried), not retried),
            Check("jobs were interrupted, and ran again", "1 or more", str(interrupted), interrupted > 0),
            Check("publishing was never refused", "never refused", publishing, not load.failure),
        ]
        for moment, answer in self.report.status.items():
            release, said = _release(moment), "; ".join(spoken(answer)) or "no answer"
            right = is_fine(answer, release)
            checks.append(Check(f"the four questions {moment}", f"fine, release {release}", said, right))
        return checks

    def _waits(self, found: list[ledger.Entry]) -> None:
        moments = [*self._moments, ("", time.time())]
        for (name, since), (_, until) in itertools.pairwise(moments):
            waits = ledger.waits(found, since, until)
            if waits:
                self.report.waits[name] = waits

    def _until(self, true: Callable[[], bool], fault: str) -> None:
        if not self._wait(true):
            raise StackError(fault, expected=f"progress within {PATIENCE_SECONDS:.0f} s", received="none")

    @staticmethod
    def _wait(true: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    @contextmanager
    def _step(self, name: str) -> Iterator[Step]:
        step, began = Step(name), time.monotonic()
        self.report.steps.append(step)
        self._moments.append((name, time.time()))
        try:
            yield step
        finally:
            step.seconds = time.monotonic() - began
            self.say(f"{step.seconds:6.1f} s  {name}{f': {step.found}' if step.found else ''}")


def _release(moment: str) -> str:
    """Return the release that runs at a moment."""
    return NEXT if moment == "after the upgrade" else NOW


def _reason(error: StackError) -> str:
    """Return the line of the log that names the error."""
    return next(iter(NAMED_ERROR.findall(str(error))[::-1]), str(error))
