"""A Grafana dashboard of the service, made from its metrics: ``python -m service.dashboard > dashboard.json``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from service.metrics import Metrics

SOURCE = {"type": "prometheus", "uid": "${source}"}
"""The Prometheus that is chosen above the panels."""
WIDTH, HEIGHT = 12, 8
"""Of a panel, in Grafana's grid of 24 columns: two side by side."""
SCHEMA_VERSION = 39
"""Of Grafana 11; later ones read it and bring it up to date."""
STEP = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """One chart: its title, its unit as Grafana names it, and its PromQL queries, each with its curves' legend."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    kind: str = "timeseries"


def name(metric: Counter | Gauge) -> str:
    """What a metric's samples are called."""
    (described,) = metric.describe()
    return f"{described.name}_total" if described.type == "counter" else described.name


def per_second(counter: Counter, by: str, where: str = "") -> str:
    """How often it is counted, of all replicas together."""
    return f"sum by ({by}) (rate({name(counter)}{where}[{STEP}]))"


def quantile(histogram: Histogram, at: float, by: str, span: str = STEP) -> str:
    """A quantile of what all replicas observed in a span of time."""
    (described,) = histogram.describe()
    return f"histogram_quantile({at}, sum by (le, {by}) (rate({described.name}_bucket[{span}])))"


def panels(metrics: Metrics) -> list[Panel]:
    """What an operator looks at, the callers' view first."""
    return [
        Panel("Requests", "reqps", [(per_second(metrics.requests, "route"), "{{route}}")]),
        Panel(
            "Refused and failed",
            "reqps",
            [(per_second(metrics.requests, "status, route", '{status=~"[45].."}'), "{{status}} {{route}}")],
        ),
        Panel("Median latency", "s", [(quantile(metrics.seconds, 0.5, "route"), "{{route}}")]),
        Panel("99th percentile of latency", "s", [(quantile(metrics.seconds, 0.99, "route"), "{{route}}")]),
        Panel("Being answered", "short", [(f"sum by (instance) ({name(metrics.in_flight)})", "{{instance}}")]),
        Panel("Predictions", "ops", [(per_second(metrics.predictions, "grade"), "{{grade}}")]),
        Panel(
            "Forecast error of what is submitted: predicted over measured time, or its inverse",
            "short",
            [
                (quantile(metrics.forecast_error, at, "forecast", "1d"), f"{{{{forecast}}}}, {at:.0%} below")
                for at in (0.5, 0.9)
            ],
        ),
        Panel(
            "Calibrations waiting", "short", [(f"max by (status) ({name(metrics.queue)})", "{{status}}")]
        ),
        Panel(
            "Replicas by calibration", "short", [(f"sum by (version) ({name(metrics.calibration)})", "{{version}}")],
            kind="stat",
        ),
        Panel("Age of the calibration", "s", [(f"time() - max({name(metrics.activated)})", "age")], kind="stat"),
        Panel(
            "Database connections",
            "short",
            [
                (f"sum by (instance) ({name(metrics.connections)})", "{{instance}} held"),
                (f"sum by (instance) ({name(metrics.pool)})", "{{instance}} kept open"),
            ],
        ),
    ]  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": "traincast",
        "title": "Traincast",
        "schemaVersion": SCHEMA_VERSION,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_drawn(number, panel) for number, panel in enumerate(panels(Metrics()))],
    }


def _drawn(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, 2)
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }


def main() -> None:
    """Writes the dashboard to standard output."""
    print(json.dumps(dashboard(), indent=2))


if __name__ == "__main__":
    main()
