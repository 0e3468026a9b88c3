"""Writes deploy/prometheus/dutiful.rules.yml anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from deploy.prometheus.alerts import alerts
from deploy.prometheus.recordings import recordings
from deploy.prometheus.thresholds import Thresholds

FILE = Path(__file__).with_name("dutiful.rules.yml")
HEAD = "# Written by `make dashboards` from deploy/prometheus/*.py; thresholds are in thresholds.py.\n"


class _Dumper(yaml.SafeDumper):
    """Writes expressions of several lines as such."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def document(chosen: Thresholds) -> dict[str, Any]:
    """Return the rules as Prometheus reads them."""
    return {
        "groups": [
            {"name": "dutiful.recordings", "interval": "30s", "rules": recordings(chosen)},
            {"name": "dutiful.alerts", "interval": "30s", "rules": [alert.rule() for alert in alerts(chosen)]},
        ]
    }


def text(chosen: Thresholds) -> str:
    """Return the file."""
    return HEAD + yaml.dump(document(chosen), Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


if __name__ == "__main__":
    FILE.write_text(text(Thresholds()), encoding="utf-8")
