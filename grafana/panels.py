"""Builds panels that look alike, and that show 0 where nothing is wrong."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as query_model

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
HERE = 'dutiful_build_info{environment=~"$environment"}'
GREEN, ORANGE, RED = "green", "orange", "red"
ACTOR_LINK = "/d/dutiful-actor?var-actor=${__field.labels.actor}&${__url_time_range}"


def rate(series: str, window: str = "$__rate_interval") -> str:
    """How often a second something happened, in the workers of the chosen environment."""
    return f"(rate({series}[{window}]) and on (instance) {HERE})"


def happened(series: str) -> str:
    """How often something rare happened in five minutes.

    A series with a rare label is born with its first count, which neither rate() nor increase() can see.
    """
    return f"((increase({series}[5m]) > 0 or ({series} unless {series} offset 5m)) and on (instance) {HERE})"


def gauge(series: str) -> str:
    """A gauge of the workers of the chosen environment."""
    return f"({series} and on (instance) {HERE})"


def share(part: str, whole: str) -> str:
    """How large a part is, from 0 to 1; 0 while there is nothing at all."""
    return f"({part} / ({whole} > 0)) or vector(0)"


def quantile(level: float, histogram: str, by: str = "", window: str = "$__rate_interval", labels: str = "") -> str:
    """A quantile of a histogram; 0 while nothing happens."""
    buckets = rate(f"{histogram}_bucket{{{labels}}}", window)
    labelled = f"le, {by}" if by else "le"
    return f"(histogram_quantile({level}, sum by ({labelled}) ({buckets})) >= 0) or vector(0)"


def number(title: str, says: str, expr: str, unit: str, *steps: tuple[float, str], good: str = GREEN) -> stat.Panel:
    """One number with a coloured background: `good` below the first step, then the colour of each step reached."""
    thresholds = [model.Threshold(color=good, value=None), *(model.Threshold(color=c, value=v) for v, c in steps)]
    return (
        stat.Panel()
        .title(title)
        .description(says)
        .datasource(SOURCE)
        .unit(unit)
        .no_value("0")
        .thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(thresholds))
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(expr, "", "A", instant=True))
        .span(6)
        .height(4)
    )


def lines(title: str, says: str, unit: str, *series: tuple[str, str], limit: float | None = None) -> timeseries.Panel:
    """Lines over time: an expression and a legend each; `limit` is drawn as a threshold."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(says)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .no_value("0")
        .line_width(2)
        .fill_opacity(10)
        .show_points(common.VisibilityMode.NEVER)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .legend(
            common_builders.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .calcs([])
        )
        .span(12)
        .height(8)
    )
    if limit is not None:
        steps = [model.Threshold(color=GREEN, value=None), model.Threshold(color=RED, value=limit)]
        panel = panel.thresholds(
            dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
        ).thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.LINE))
    if any("{{actor}}" in legend for _, legend in series):
        panel = panel.data_links([dashboard.DashboardLink("This actor").url(ACTOR_LINK)])
    for position, (expr, legend) in enumerate(series):
        panel = panel.with_target(_query(expr, legend, "ABCDEF"[position]))
    return panel


def rows(title: str, says: str, unit: str, expr: str, link: tuple[str, str] | None = None) -> table.Panel:
    """A table with a row for each series."""
    panel = (
        table.Panel()
        .title(title)
        .description(says)
        .datasource(SOURCE)
        .unit(unit)
        .no_value("0")
        .with_target(_query(expr, "", "A", instant=True).format(query_model.PromQueryFormat.TABLE))
        .span(12)
        .height(8)
    )
    return panel.data_links([dashboard.DashboardLink(link[0]).url(link[1])]) if link else panel


def _query(expr: str, legend: str, ref: str, *, instant: bool = False) -> Any:
    query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref)
    return query.instant() if instant else query.range()
