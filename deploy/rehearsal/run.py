"""Takes one release through its rehearsal: deploy, upgrade, check, roll back, all under load."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.local import Stack, StackError
from deploy.rehearsal import ledger
from deploy.rehearsal.build import build, changed, point
from deploy.rehearsal.count import count
from deploy.rehearsal.load import Load
from deploy.rehearsal.options import Options
from deploy.rehearsal.progress import POLL_SECONDS, Progress, until, wait
from deploy.rehearsal.report import Report
from deploy.rehearsal.site import GRACE_SECONDS, ONE_SHOT, SERVICES, Site, link, overrides

NOW, NEXT = "now", "next"
OVERLAYS = {NOW: [NOW], NEXT: [NOW, NEXT]}
NAMED_ERROR = re.compile(r"^(?:error: .+|[\w.]+(?:Error|Failure|Unavailable): .+)$", re.MULTILINE)
LEAST_JOBS = 10
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

    def __post_init__(self) -> None:
        """Begin to time."""
        self._progress = Progress(self.report, self.say)

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
        with self._progress.step("releases built") as step:
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
        with self._progress.step("stack started with the release of now"):
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
        count(self._progress, site, load)

    def _under_load(self, site: Site, load: Load) -> None:
        self._work(site, "the release of now works")
        before = self._ask(site, "before", NOW)
        if not self._upgrade(site, load):
            self._work(site, "the release of now goes on")
            self._ask(site, "after it was refused", NOW)
            return
        load.speaks_next = True  # publishers follow the workers
        self._work(site, "the next release works, and publishers use it")
        self._ask(site, "after the upgrade", NEXT, before)
        load.speaks_next = False  # and go back before them
        self._drain(site, load)
        for service in reversed(SERVICES):  # the scheduler first; the schema stays, and the old release leaves it alone
            self._replace(site, load, service, NOW)
        self._work(site, "the release of now works again")
        self._ask(site, "after the way back", NOW)

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
            wait(lambda: ledger.runs(site.engine, "rehearsal.linger"))
        with self._progress.step(f"{service}: release {release}"):
            site.replace(service, self._release(release))

    def _work(self, site: Site, name: str) -> None:
        """Let a release work; some jobs have to be done meanwhile."""
        with self._progress.step(name) as step:
            before, ends = ledger.done(site.engine), time.monotonic() + self.options.seconds
            until(lambda: ledger.done(site.engine) >= before + LEAST_JOBS, f"jobs stand still: {name}")
            time.sleep(max(0.0, ends - time.monotonic()))
            step.found = f"{ledger.done(site.engine) - before:,} jobs done"

    def _drain(self, site: Site, load: Load) -> None:
        """Wait for the jobs that only the next release understands."""
        with self._progress.step("jobs in the next release's form have ended") as step:
            time.sleep(POLL_SECONDS)  # one may be on its way to RabbitMQ
            until(lambda: self._followed(site) >= load.noted, "jobs of the next release stand still")
            step.found = f"{len(load.noted):,} of them"

    def _followed(self, site: Site) -> set[int]:
        return {entry.n for entry in ledger.entries(site.engine) if entry.job == "follow"}

    def _ask(self, site: Site, moment: str, release: str, compare: Path | None = None) -> Path:
        """Ask the four questions of a release; the file with the answer can be compared with later."""
        file = self.folder / f"status-{moment.replace(' ', '-')}.json"
        with self._progress.step(f"the four questions {moment}") as step:
            answer, earlier = site.status(release, compare)
            step.found = str(answer.get("verdict")) + (f"; it had said: {earlier}" if earlier else "")
        self.report.status[moment], self.report.asked[moment] = answer, release
        file.write_text(json.dumps(answer))
        return file


def _reason(error: StackError) -> str:
    """Return the line of the log that names the error."""
    return next(iter(NAMED_ERROR.findall(str(error))[::-1]), str(error))
