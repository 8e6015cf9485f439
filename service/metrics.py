"""The service's Prometheus metrics."""

import math
from collections.abc import Callable, Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The metrics of one replica, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.requests = Counter(
            "traincast_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "traincast_request_seconds",
            "Seconds from a request's arrival to the end of its answer.",
            ("method", "route"),
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )
        self.in_flight = Gauge("traincast_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.calibration = Gauge(
            "traincast_calibration_info", "The calibration in use.", ("version",), registry=self.registry
        )
        self.activated = Gauge(
            "traincast_calibration_activated_timestamp_seconds",
            "When the calibration in use was put in use; time() minus this is its age.",
            registry=self.registry,
        )
        self.queue = Gauge(
            "traincast_calibration_jobs", "Calibrations that are not fitted yet.", ("status",), registry=self.registry
        )
        self.predictions = Counter(
            "traincast_predictions",
            "Configurations predicted, by how well founded.",
            ("grade",),
            registry=self.registry,
        )
        self.forecast_error = Histogram(
            "traincast_forecast_error_ratio",
            "Of measurements submitted: predicted over measured time, or its inverse, whichever is above 1.",
            ("forecast",),
            registry=self.registry,
            buckets=(1.05, 1.1, 1.2, 1.3, 1.5, 1.75, 2, 3, 5, 10),
        )
        self.connections = Gauge(
            "traincast_database_connections", "Database connections that requests hold.", registry=self.registry
        )
        self.pool = Gauge("traincast_database_pool_size", "Database connections kept open.", registry=self.registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts and times a request.

        Args:
            method: one of HTTP's own; anything else is to be called ``other``.
            route: its template, or ``unknown``.
            status: of its answer.
            seconds: from its arrival to the end of its answer.
        """
        series = self._series.get((method, route, status))
        if series is None:
            series = self.requests.labels(method, route, str(status)), self.seconds.labels(method, route)
            self._series[method, route, status] = series
        count, time = series
        count.inc()
        time.observe(seconds)

    def predicted(self, grades: Iterable[str]) -> None:
        """Counts configurations that were predicted, by grade."""
        for grade in grades:
            self.predictions.labels(grade).inc()

    def submitted(self, deviation_log: float | None, forecast_error_log: float | None) -> None:
        """Notes how far a measurement lies from the forecast in use, and from the saved one that it names.

        Args:
            deviation_log: natural log of measured over predicted time; None where it cannot be compared.
            forecast_error_log: natural log of predicted over measured time; None where it names none.
        """
        for forecast, log in (("current", deviation_log), ("saved", forecast_error_log)):
            if log is not None:
                self.forecast_error.labels(forecast).observe(math.exp(abs(log)))

    def watch_pool(self, held: Callable[[], float], size: float) -> None:
        """Reads the connections held whenever the metrics are asked for."""
        self.connections.set_function(held)
        self.pool.set(size)

    def calibrations(self, activated: datetime | None, waiting: dict[str, int]) -> None:
        """Notes since when the calibration is in use, and how many fits wait and run."""
        if activated is not None:
            self.activated.set(activated.timestamp())
        for status, count in waiting.items():
            self.queue.labels(status).set(count)
