"""The metrics of many processes are one, the dead's counters are kept, and a scrape stays cheap as they come and go."""

import json
import os
import subprocess
import sys
import textwrap
import time

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.parser import text_string_to_metric_families

from workers.merging import Merging

PROOF = bool(os.environ.get("PROOF"))
RESTARTS, AT_ONCE, ACTORS, PROCESSES = 100 if PROOF else 2, 2, 30, 8
MOST_SECONDS = 0.1 if PROOF else 0.5  # of processor time; beside other tests it says only that it isn't far off
JOBS = textwrap.dedent(
    """
    import os, sys, time
    from pathlib import Path
    from workers import exposition
    folder = Path(sys.argv[1])
    exposition.share(folder)
    from workers import metrics
    from workers.counters import Counters
    from workers.delivery import Delivery, Outcome
    from dramatiq import Message
    counters, bound = Counters(), range(int(sys.argv[2]))
    for number in bound:
        counters.of(f"queue-{number % 5}", f"domain.actor_{number}")
        for kind in ("soft", "hard"):
            metrics.time_limits.labels(f"domain.actor_{number}", kind)
    one = counters.of("queue-0", "domain.actor_0")
    for _ in range(3):
        one.began(0.01)
        one.left()
        delivery = Delivery(Message("queue-0", "domain.actor_0", (), {}, {}))
        delivery.took = 0.02
        one.ended(delivery, Outcome("succeeded"), 0.03)
    counters.add_up()
    metrics.worker_threads.set(4)
    metrics.worker_beat.set(1000 + os.getpid())
    (folder / f"beat-{os.getpid()}.json").write_text("{}")
    print("ready", flush=True)
    sys.stdin.read()
    """
)


@pytest.fixture
def start(tmp_path):
    """Start processes that count, each three jobs: start(8, actors=30)."""
    started = []

    def begin(count, actors=1):
        command = [sys.executable, "-c", JOBS, str(tmp_path), str(actors)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        made = [subprocess.Popen(command, **pipes) for _ in range(count)]
        started.extend(made)
        for process in made:
            assert process.stdout.readline() == b"ready\n"
        return made

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def number(text, name, **labels):
    families = text_string_to_metric_families(text.decode())
    found = [each for family in families for each in family.samples if each.name == name]
    return next((each.value for each in found if labels.items() <= each.labels.items()), None)


def series(text):
    return {(each.name, *sorted(each.labels.items())): each.value
            for family in text_string_to_metric_families(text.decode()) for each in family.samples}  # fmt: skip


def test_counters_add_up_and_gauges_say_what_their_mode_says(start, tmp_path):
    first, second = start(2)
    text = Merging(tmp_path).text()

    assert number(text, "dutiful_jobs_finished_total", outcome="succeeded") == 6
    assert number(text, "dutiful_job_duration_seconds_count") == 6
    assert number(text, "dutiful_job_duration_seconds_bucket", le="0.01") == 0
    assert number(text, "dutiful_job_duration_seconds_bucket", le="0.025") == 6
    assert number(text, "dutiful_job_duration_seconds_bucket", le="+Inf") == 6
    assert number(text, "dutiful_job_attempts_count") == 6
    assert number(text, "dutiful_job_attempts_total", outcome="succeeded") == 6
    assert number(text, "dutiful_worker_threads") == 8
    assert number(text, "dutiful_worker_beat_timestamp_seconds") == 1000 + min(first.pid, second.pid)


def test_it_reads_what_prometheus_own_reader_reads(start, tmp_path):
    start(2)
    code = "from prometheus_client import CollectorRegistry, generate_latest, multiprocess as m\n"
    code += "r = CollectorRegistry(); m.MultiProcessCollector(r); print(generate_latest(r).decode())"
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    theirs = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout

    # Theirs shows no gauge of the mode `mostrecent` before it is first set, and one of two metrics named job_attempts.
    ours = series(Merging(tmp_path).text())
    missing = {key for key in ours.keys() - series(theirs).keys() if "job_attempts" not in key[0]}
    assert {key[0] for key in missing} <= {
        "dutiful_outbox_waiting", "dutiful_outbox_oldest_seconds", "dutiful_outbox_set_aside"
    }  # fmt: skip
    assert {key: value for key, value in series(theirs).items() if "job_attempts" not in key[0]}.items() <= ours.items()


def test_what_the_dead_have_counted_is_kept_and_what_they_said_of_the_present_is_not(start, tmp_path):
    merging = Merging(tmp_path)
    for process in start(3):
        process.kill()
        process.wait()
    (left,) = start(1)

    for text in (merging.text(), merging.text(), Merging(tmp_path).text()):
        assert number(text, "dutiful_jobs_finished_total", outcome="succeeded") == 12
        assert number(text, "dutiful_job_duration_seconds_count") == 12
        assert number(text, "dutiful_worker_threads") == 4
        assert number(text, "dutiful_worker_beat_timestamp_seconds") == 1000 + left.pid
    assert {path.stem.rpartition("_")[2] for path in tmp_path.glob("*.db")} == {"0", str(left.pid)}


def test_a_gauge_of_a_process_that_is_no_worker_says_nothing_of_the_workers(start, tmp_path):
    worker, child = start(2)
    (tmp_path / f"beat-{child.pid}.json").unlink()
    text = Merging(tmp_path).text()

    assert number(text, "dutiful_worker_threads") == 4
    assert number(text, "dutiful_worker_beat_timestamp_seconds") == 1000 + worker.pid
    assert number(text, "dutiful_jobs_finished_total", outcome="succeeded") == 6


def test_a_sites_own_gauge_keeps_a_series_for_each_process_and_every_text_is_escaped(tmp_path):
    for pid, value in ((os.getpid(), 1.5), (os.getppid(), 2.5)):
        file = MmapedDict(str(tmp_path / f"gauge_all_{pid}.db"))
        file.write_value(mmap_key("site", "site", ["what"], ['a "b"\\\n'], 'Of "it"\\.\nAll.'), value, 0)
        file.close()
    text = Merging(tmp_path).text()

    assert number(text, "site", pid=str(os.getpid()), what='a "b"\\\n') == 1.5
    assert number(text, "site", pid=str(os.getppid())) == 2.5
    assert b'# HELP site Of "it"\\\\.\\nAll.\n' in text


@pytest.mark.timeout(600)
def test_a_scrape_costs_as_much_after_many_restarts_as_before_the_first(start, tmp_path, record_property):
    merging = Merging(tmp_path)
    processes = start(PROCESSES, ACTORS)
    before = cost(merging)
    for restarts in [AT_ONCE] * (RESTARTS // AT_ONCE):
        for dead in processes[:restarts]:
            dead.kill()
            dead.wait()
        processes = processes[restarts:] + start(restarts, ACTORS)
        merging.text()  # somebody scrapes
    after = cost(merging)
    text = merging.text()
    size, lines = len(text), text.count(b"\n")
    said = {"restarts": RESTARTS, "before_ms": before * 1000, "after_ms": after * 1000, "bytes": size, "lines": lines}
    print(json.dumps(said))  # noqa: T201  a figure that people ask for

    assert number(text, "dutiful_jobs_finished_total", actor="domain.actor_0", outcome="succeeded") == 3 * (
        PROCESSES + RESTARTS
    )
    assert after < MOST_SECONDS
    assert len(list(tmp_path.glob("*.db"))) <= 7 * (PROCESSES + 1)


def cost(merging):
    """Seconds of processor time for a scrape: the median of nine."""
    taken = []
    for _ in range(9):
        begun = time.process_time()
        merging.text()
        taken.append(time.process_time() - begun)
    return sorted(taken)[4]
