"""Counts, when everything has ended, what a rehearsal has cost."""

from deploy.demo.checks import Check
from deploy.rehearsal import ledger
from deploy.rehearsal.ledger import Published
from deploy.rehearsal.load import LINGERING, Load
from deploy.rehearsal.progress import Progress, wait
from deploy.rehearsal.report import Report
from deploy.rehearsal.site import Site, is_fine, spoken

QUEUES = ("rehearsal", "rehearsal-long", "rehearsal-next")
OTHERS = ("content", "site")
REST_SECONDS = 10.0


def count(progress: Progress, site: Site, load: Load) -> None:
    """Wait until everything has ended, then say in the report what holds."""
    report, jobs = progress.report, load.published + len(load.noted) + load.lingering
    with progress.step("everything has ended") as step:
        ended = wait(lambda: ledger.done(site.engine) >= jobs)
        wait(lambda: not any(site.depths(*QUEUES[:2]).values()), REST_SECONDS)
        step.found = f"{load.published:,} jobs at {load.published / max(load.seconds, 0.1):.0f}/s; " + (
            "all done" if ended else f"{ledger.done(site.engine):,} of {jobs:,} done"
        )
    report.load = {"rate": load.rate, "published": load.published, "seconds": load.seconds}
    found = ledger.entries(site.engine)
    published = Published(range(load.published), sorted(load.noted), range(LINGERING, LINGERING + load.lingering))
    dead = site.depths(*(f"{queue}.XQ" for queue in (*QUEUES, *OTHERS)))
    left = site.depths(*QUEUES[:2])  # the last is the next release's own: a probe may wait for it there
    report.checks = [
        *ledger.checks(published, found, ledger.keys(site.engine), dead, left),
        *_of_the_workers(site),
        Check("publishing was never refused", "never refused", load.failure or "never refused", not load.failure),
        *_of_the_four_questions(report),
    ]
    progress.write_waits(found)


def _of_the_workers(site: Site) -> list[Check]:
    retried, interrupted = site.said("job_retried"), site.said("job_interrupted")
    return [
        Check("no attempt failed", "0", str(retried), not retried),
        Check("jobs were interrupted, and ran again", "1 or more", str(interrupted), interrupted > 0),
    ]


def _of_the_four_questions(report: Report) -> list[Check]:
    checks = []
    for moment, answer in report.status.items():
        release, said = report.asked[moment], "; ".join(spoken(answer)) or "no answer"
        checks.append(Check(f"the four questions {moment}", f"fine, release {release}", said, is_fine(answer, release)))
    return checks
