"""What an operator sees of a running service: logs, metrics, traces; and what browsers are told."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from service.app import create_app
from service.database import Database
from service.settings import Settings
from tests.conftest import Databases, Team, serving

QUESTION = {"model": {"name": "bert-base"}, "hardware": {"accelerator": "V100-SXM2-16GB"}}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Served:
    """`traincast serve` as a process of its own, and the lines of its log."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.log = folder / "log"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("TRAINCAST_", "OTEL_"))
        }
        environment |= {"TRAINCAST_HOME": str(folder), "TRAINCAST_PORT": "0", **settings}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("traincast"), "serve"],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged so far; a line that is not JSON is an error."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def url(self) -> str:
        """Where it listens, once it does."""
        while True:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            found = re.search(r"running on (http://[0-9.:]+)", self.log.read_text(encoding="utf-8"))
            if found:
                return found[1]
            time.sleep(0.05)


@contextmanager
def served(folder: Path, **settings: str) -> Iterator[Served]:
    """A service of its own, stopped at the end."""
    service = Served(folder, **settings)
    try:
        yield service
    finally:
        service.process.terminate()
        service.process.wait()


@pytest.mark.slow_on("postgresql")
def test_the_log_is_json_with_the_callers_ids_and_without_what_they_sent(seeded_database: str, tmp_path: Path) -> None:
    settings = {"TRAINCAST_DATABASE_URL": seeded_database}
    with served(tmp_path, **settings) as service, httpx.Client(base_url=service.url()) as http:
        http.get("/healthz")
        sent = {"x-request-id": "build-17", "traceparent": PARENT, "authorization": "Bearer trc_secret_key"}
        http.post("/v1/estimates?secret=query", json=QUESTION | {"site": "secret-site"}, headers=sent)
        http.post("/v1/estimates", json=QUESTION)
    lines = service.lines()
    answered = [line for line in lines if line["message"].startswith("POST")]
    refused, estimated = answered
    assert refused["status"] == 401
    assert (refused["request_id"], refused["trace_id"]) == ("build-17", TRACE)
    assert (estimated["status"], estimated["method"], estimated["route"]) == (200, "POST", "/v1/estimates")
    assert estimated["trace_id"] is None
    assert estimated["seconds"] > 0
    assert "secret" not in service.log.read_text(encoding="utf-8")
    assert not [line for line in lines if "/healthz" in line["message"]], "probes are not worth a line"


@pytest.mark.slow_on("postgresql")
def test_a_service_asked_to_stop_finishes_what_it_has_taken(seeded_database: str, tmp_path: Path) -> None:
    with served(tmp_path, TRAINCAST_DATABASE_URL=seeded_database) as service:
        url = service.url()

        def lines() -> Iterator[bytes]:
            yield json.dumps(QUESTION).encode() + b"\n"
            service.process.terminate()
            yield json.dumps(QUESTION).encode() + b"\n"

        headers = {"content-type": "application/x-ndjson"}
        answer = httpx.post(f"{url}/v1/estimates/batch", content=lines(), headers=headers, timeout=60)
        assert [json.loads(line)["evidence"]["grade"] for line in answer.text.splitlines()] == ["measured"] * 2


def test_slow_queries_are_logged_without_their_values(databases: Databases, caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> None:
        database = Database(databases.empty(), slow_query_seconds=1e-9)
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT :said"), {"said": "secret"})
        await database.close()

    with caplog.at_level("WARNING", logger="service.database"):
        asyncio.run(ask())
    assert [line for line in caplog.messages if "SELECT" in line and line.startswith("a query took")]
    assert "secret" not in caplog.text


def test_metrics_tell_of_predictions_errors_calibrations_and_connections(ours: Team) -> None:
    def value(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", ours.http.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    predicted, wrong = 'traincast_predictions_total{grade="measured"}', "traincast_forecast_error_ratio_count"
    before = value(predicted), value(f'{wrong}{{forecast="current"}}'), value(f'{wrong}{{forecast="saved"}}')
    saved = ours.http.post("/v1/estimates", json=QUESTION | {"save": True}).json()
    row = QUESTION | {
        "result": {"value": saved["throughput"]["samples_per_second"]["p50"], "unit": "samples_per_second"}
    }
    assert ours.http.post("/v1/measurements", json=row | {"estimate_id": saved["id"]}).status_code == 201
    after = value(predicted), value(f'{wrong}{{forecast="current"}}'), value(f'{wrong}{{forecast="saved"}}')
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]
    assert value("traincast_calibration_activated_timestamp_seconds") > 1.7e9
    assert value('traincast_calibration_jobs{status="queued"}') == 0
    assert value("traincast_database_pool_size") > 0


def test_the_dashboard_asks_for_metrics_and_labels_that_the_service_has(ours: Team) -> None:
    saved = ours.http.post("/v1/estimates", json=QUESTION | {"save": True}).json()
    result = {"value": saved["throughput"]["samples_per_second"]["p50"], "unit": "samples_per_second"}
    ours.http.post("/v1/measurements", json=QUESTION | {"result": result, "estimate_id": saved["id"]})
    families = text_string_to_metric_families(ours.http.get("/metrics").text)
    labels: dict[str, set[str]] = {}
    for sample in (sample for family in families for sample in family.samples):
        labels.setdefault(sample.name, {"instance"}).update(sample.labels)  # Prometheus itself adds the instance
    shown = subprocess.run(
        [Path(sys.executable).with_name("traincast"), "dashboard"], capture_output=True, check=True, text=True
    )
    panels = json.loads(shown.stdout)["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    for query in asked:
        (metric,) = re.findall(r"traincast_\w+", query)
        named = {label for listed in re.findall(r"by \(([^)]*)\)", query) for label in listed.split(", ")}
        assert named | set(re.findall(r"(\w+)=~", query)) <= labels[metric], query
    told = {
        name for name in labels if name.startswith("traincast_") and not name.endswith(("_created", "_sum", "_count"))
    }
    assert told == {metric for query in asked for metric in re.findall(r"traincast_\w+", query)}, "all is shown"


@pytest.mark.slow_on("postgresql")
def test_spans_reach_the_collector_that_the_environment_names(seeded_database: str, tmp_path: Path) -> None:
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_port}"
        settings = {"TRAINCAST_DATABASE_URL": seeded_database, "TRAINCAST_TRACING": "true"}
        with served(tmp_path, **settings, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as service:
            httpx.get(f"{service.url()}/v1/sources?limit=1", headers={"traceparent": PARENT})
        collector.shutdown()
    spans = b"".join(received)
    assert bytes.fromhex(TRACE) in spans
    assert b"GET /v1/sources" in spans
    assert b"SELECT" in spans


def test_browsers_are_told_to_be_careful_and_who_may_call(databases: Databases) -> None:
    settings = Settings(database_url=databases.seeded(), open_reading=False, cors_origins="https://ours.example")
    with serving(create_app(settings)) as url:
        refused = httpx.get(f"{url}/v1/models")
        assert refused.status_code == 401
        assert refused.headers["x-content-type-options"] == "nosniff"
        assert refused.headers["x-frame-options"] == "DENY"
        asked = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }

        def preflight(origin: str) -> httpx.Response:
            return httpx.options(f"{url}/v1/estimates", headers=asked | {"origin": origin})

        assert preflight("https://ours.example").headers["access-control-allow-origin"] == "https://ours.example"
        assert "access-control-allow-origin" not in preflight("https://theirs.example").headers
