"""Builds what all dashboards share: variables, deployment marks, links, and a stable form."""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from deploy.prometheus.thresholds import RUNBOOKS
from grafana.panels import HERE, SOURCE

DEPLOYED = f"count by (version, revision) ({HERE}) unless count by (version, revision) ({HERE} offset 1m)"


def frame(title: str, uid: str, says: str, *variables: str) -> dashboard.Dashboard:
    """An empty dashboard.

    Parameters:
      variables: labels to choose by, beside the environment; each a label of dutiful_jobs_finished_total.
    """
    built = (
        dashboard.Dashboard(f"Dutiful / {title}")
        .uid(uid)
        .description(says)
        .tags(["dutiful"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Dashboards")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["dutiful"])
            .keep_time(True)
            .include_vars(True)
        )
        .link(dashboard.DashboardLink("Runbooks").type(model.DashboardLinkType.LINK).url(RUNBOOKS).target_blank(True))
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("environment", "label_values(dutiful_build_info, environment)"))
        .annotation(
            dashboard.AnnotationQuery()
            .name("Deployments")
            .datasource(SOURCE)
            .enable(True)
            .icon_color("blue")
            .expr(DEPLOYED)
            .title_format("{{version}} {{revision}}")
            .step("60s")
        )
    )
    for name in variables:
        built = built.with_variable(_variable(name, f"label_values(dutiful_jobs_finished_total, {name})"))
    return built


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def text(built: dashboard.Dashboard) -> str:
    """The file: always the same for the same dashboard, each panel with a number of its own."""
    document: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(built.build()))
    for number, panel in enumerate(document["panels"], 1):
        panel["id"] = number
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
