"""Merging adds up what the processes of one command have counted, and keeps it when they are gone.

Each leaves files of prometheus_client's: a number for each series, and its name as JSON. Its own reader takes each name
apart at each scrape, and reads the files of every process that there ever was.
"""

import json
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from workers.store import processes

_SIZE: Final = struct.Struct("i")
_NUMBERS: Final = struct.Struct("dd")
_FOLDED: Final = "0"  # stands for the pids of all processes that are gone
_TAKEN: Final = ".gone"  # the suffix of a file that is about to be folded

_Numbers = tuple[float, float]  # the value, and for a few gauges since when
_Totals = dict[bytes, _Numbers]


class _File(NamedTuple):
    path: Path
    kind: str
    mode: str
    pid: str

    @property
    def is_live(self) -> bool:
        """Whether it says what is true only of a process that lives."""
        return self.mode.startswith("live")


class _Series(NamedTuple):
    metric: str
    sample: str
    labels: str
    bound: float | None
    help: str


class Merging:
    """The metrics of all processes that share a folder.

    The counters of a process that is gone are added to those of all that went before it, so that a scrape costs as
    much after a hundred restarts as before the first. What a gauge says of the present counts while its process beats:
    the children of a worker count as well, and know nothing of its store or its threads.

    Parameters:
      directory: the folder; one process at a time merges it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._known: dict[bytes, _Series] = {}

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        with self._lock:
            files = self._fold()
            found: dict[tuple[str, str], _Totals] = {}
            for file in files:
                _add(found.setdefault((file.kind, file.mode), {}), file)
            shown: dict[tuple[str, str], list[tuple[_Series, float]]] = {}
            for (kind, _), totals in found.items():
                for key, (value, _) in totals.items():
                    series = self._series(key)
                    shown.setdefault((series.metric, kind), []).append((series, value))
        return "".join(_written(*each) for each in shown.items()).encode()

    def _fold(self) -> list[_File]:
        """Put together what processes have left that are gone; the files that are there then.

        Whoever does this may be killed after any step, and the next one goes on from there: a file is first given a
        name that comes once, then counted in the file that lists that name, then removed.
        """
        files = self._files("*.db")
        gone = {pid for pid in {file.pid for file in files} - {_FOLDED} if not processes.started(int(pid))}
        for file in files:
            if file.pid in gone:
                _take(file)
        taken = self._files(f"*{_TAKEN}")
        for kind, mode in {(file.kind, file.mode) for file in taken}:
            self._fold_alike(kind, mode, [file for file in taken if (file.kind, file.mode) == (kind, mode)])
        beating = {path.stem.removeprefix("beat-") for path in self._directory.glob("beat-*.json")}
        return [file for file in self._files("*.db") if not file.is_live or file.pid in beating]

    def _fold_alike(self, kind: str, mode: str, taken: list[_File]) -> None:
        folded = _File(_named(self._directory, kind, mode), kind, mode, _FOLDED)
        counted = _counted(folded.path)
        new = [file for file in taken if file.path.name not in counted]
        if new:
            totals: _Totals = {}
            for file in [folded, *new]:
                _add(totals, file)
            _write(folded.path, totals, [file.path.name for file in taken])
        for file in taken:
            file.path.unlink(missing_ok=True)

    def _files(self, pattern: str) -> list[_File]:
        return [file for path in sorted(self._directory.glob(pattern)) if (file := _file(path)) is not None]

    def _series(self, key: bytes) -> _Series:
        found = self._known.get(key)
        if found is None:
            metric, sample, labels, text = json.loads(key)
            bound = float(labels.pop("le")) if sample.endswith("_bucket") and "le" in labels else None
            words = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))
            found = self._known[key] = _Series(metric, sample, words, bound, _escaped(text).replace('\\"', '"'))
        return found


def _file(path: Path) -> _File | None:
    kind, *mode, last = path.stem.split("_")
    pid = last.partition("-")[0]
    return _File(path, kind, "".join(mode), pid) if pid.isdigit() else None


def _named(directory: Path, kind: str, mode: str) -> Path:
    return directory / ("_".join([kind, *filter(None, [mode]), _FOLDED]) + ".db")


def _take(file: _File) -> None:
    """Keep the file of a process that is gone from the next process with its pid, which would go on counting in it."""
    if file.is_live:
        file.path.unlink(missing_ok=True)
    else:
        file.path.rename(file.path.with_name(f"{file.path.stem}-{uuid.uuid4().hex}{_TAKEN}"))


def _counted(path: Path) -> list[str]:
    """The names of the files whose numbers were last added to a folded file; they stand behind its own numbers."""
    if not path.exists():
        return []
    data = path.read_bytes()
    return list(json.loads(data[_SIZE.unpack_from(data)[0] :] or "[]"))


def _add(totals: _Totals, file: _File) -> None:
    choose = _CHOICES.get(file.mode.removeprefix("live"), _sum)
    for key, numbers in _entries(file):
        if file.mode in {"all", "liveall"}:
            key = _of_process(key, file.pid)  # noqa: PLW2901  the same series, with its process
        before = totals.get(key)
        totals[key] = numbers if before is None else choose(before, numbers)


def _entries(file: _File) -> Iterator[tuple[bytes, _Numbers]]:
    """Each series of a file, and its numbers."""
    try:
        data = file.path.read_bytes()
    except FileNotFoundError:
        return  # its process has just left in order
    used = _SIZE.unpack_from(data)[0] if data else 0
    place = 8
    while place < used:
        size = _SIZE.unpack_from(data, place)[0]
        begin = place + 4
        end = begin + size + 8 - (size + 4) % 8
        yield data[begin : begin + size], _NUMBERS.unpack_from(data, end)
        place = end + _NUMBERS.size


def _of_process(key: bytes, pid: str) -> bytes:
    metric, sample, labels, text = json.loads(key)
    return json.dumps([metric, sample, {"pid": pid, **labels}, text]).encode()


def _write(path: Path, totals: _Totals, counted: list[str]) -> None:
    """Write a file as a process would have left it, and what was counted; nobody ever sees it half written."""
    parts = []
    for key, numbers in totals.items():
        padding = b" " * (8 - (len(key) + 4) % 8)
        parts.append(_SIZE.pack(len(key)) + key + padding + _NUMBERS.pack(*numbers))
    content = b"".join(parts)
    unfinished = path.with_suffix(".new")
    unfinished.write_bytes(_SIZE.pack(len(content) + 8) + bytes(4) + content + json.dumps(counted).encode())
    unfinished.replace(path)


def _written(name: tuple[str, str], found: list[tuple[_Series, float]]) -> str:
    """One metric, with what it means."""
    metric, kind = name
    shown = f"{metric}_total" if kind == "counter" else metric
    lines = [f"# HELP {shown} {found[0][0].help}\n# TYPE {shown} {kind}\n"]
    buckets: dict[str, list[tuple[float, float]]] = {}
    for series, value in found:
        if series.bound is None:
            lines.append(_line(series.sample, series.labels, value))
        else:
            buckets.setdefault(series.labels, []).append((series.bound, value))
    for labels, counts in buckets.items():
        total = 0.0
        for bound, count in sorted(counts):
            total += count
            le = f'le="{_number(bound)}"'
            lines.append(_line(f"{metric}_bucket", f"{labels},{le}" if labels else le, total))
        lines.append(_line(f"{metric}_count", labels, total))
    return "".join(lines)


def _line(sample: str, labels: str, value: float) -> str:
    return f"{sample}{{{labels}}} {_number(value)}\n" if labels else f"{sample} {_number(value)}\n"


def _number(value: float) -> str:
    text = repr(value)
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text, text)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _sum(one: _Numbers, other: _Numbers) -> _Numbers:
    return one[0] + other[0], 0.0


_CHOICES: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "min": min,
    "max": max,
    "mostrecent": lambda one, other: max(one, other, key=lambda numbers: numbers[1]),
}
