"""The running service: health, documentation, metrics, request ids, limits."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import validate

from service.app import create_app
from service.openapi import COMMITTED, render
from service.settings import Settings
from tests.conftest import Databases, serving


def test_it_is_alive(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_it_is_ready_and_says_by_which_calibration(client: httpx.Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert answer.json()["calibration"]


def test_it_is_not_ready_without_its_database(databases: Databases) -> None:
    if databases.server is None:
        pytest.skip("a SQLite file cannot be taken away from who holds it open")
    url = databases.seeded()
    with serving(create_app(Settings(database_url=url))) as address:
        assert httpx.get(f"{address}/readyz").status_code == 200
        databases.drop(url)
        answer = httpx.get(f"{address}/readyz")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert httpx.get(f"{address}/healthz").status_code == 200


def test_the_documentation_needs_no_internet(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert not re.search(r"https?://", page.text), "the page loads something from elsewhere"
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) >= 3
    for asset in assets:
        assert client.get(asset).status_code == 200, asset


@pytest.mark.slow_on("postgresql")
def test_the_api_describes_itself(client: httpx.Client) -> None:
    description = client.get("/openapi.json").json()
    validate(description)
    assert {"/healthz", "/readyz", "/metrics"} <= set(description["paths"])


def test_the_description_promises_problem_documents_for_every_error(client: httpx.Client) -> None:
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if status >= "4":
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


def test_the_committed_description_is_what_is_served() -> None:
    committed = COMMITTED.read_text(encoding="utf-8") if COMMITTED.exists() else ""
    assert render(create_app()) == committed, "the API changed: run `make openapi` and commit openapi/openapi.json"


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/v1/models?q=bert", "/v1/models/no", "/v1/measurements/export?model.name=bert-large"]
)
def test_head_is_answered_as_get_without_the_body(client: httpx.Client, path: str) -> None:
    head, got = client.head(path), client.get(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    own = {"date", "x-request-id"}
    told, expected = ({k: v for k, v in of.headers.items() if k not in own} for of in (head, got))
    assert told == expected


def test_metrics_count_requests_by_route(client: httpx.Client) -> None:
    def count() -> float:
        line = re.search(
            r'^traincast_requests_total\{method="GET",route="/healthz",status="200"\} (\S+)$',
            client.get("/metrics").text,
            re.MULTILINE,
        )
        return float(line[1]) if line else 0

    before = count()
    client.get("/healthz")
    assert count() == before + 1


def test_metrics_do_not_grow_with_made_up_paths_and_methods(client: httpx.Client) -> None:
    client.get("/made-up-path")
    client.request("MADEUP", "/healthz")
    text = client.get("/metrics").text
    assert "made-up-path" not in text
    assert "MADEUP" not in text


def test_a_request_keeps_the_id_its_caller_gave(client: httpx.Client) -> None:
    assert client.get("/healthz", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"


@pytest.mark.parametrize("given", ["", "two words", "<script>", "x" * 500])
def test_a_request_without_a_sane_id_gets_one(client: httpx.Client, given: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", client.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"])


@pytest.mark.parametrize("known_length", [True, False])
def test_a_body_over_the_limit_is_refused(client: httpx.Client, known_length: bool) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * 1_000_000

    answer = client.post("/v1/estimates", content=b"".join(body()) if known_length else body())
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:traincast:problem:too-large"


def test_serve_prepares_a_new_database_and_answers(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINCAST_")}
    environment |= {"TRAINCAST_HOME": str(tmp_path / "home"), "TRAINCAST_PORT": str(port)}
    command = [str(Path(sys.executable).with_name("traincast")), "serve"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        answer = _first_answer(process, f"http://127.0.0.1:{port}/readyz")
        assert answer.status_code == 200
        assert process.stdout is not None
        key = process.stdout.readline().decode().split()[-1]
        audit = httpx.get(f"http://127.0.0.1:{port}/v1/audit", headers={"authorization": f"Bearer {key}"})
        assert [entry["action"] for entry in audit.json()["items"]] == ["key.create"], "the key that was printed works"
        assert (tmp_path / "home" / "traincast.sqlite3").exists()
    finally:
        process.terminate()
        process.wait()


def _first_answer(process: subprocess.Popen[bytes], url: str) -> httpx.Response:
    while True:
        assert process.poll() is None, "the service ended by itself"
        try:
            return httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.1)


def test_a_client_that_stalls_is_let_go_and_holds_up_nobody(seeded_database: str) -> None:
    settings = Settings(database_url=seeded_database, stall_seconds=0.5, database_pool=1)
    with serving(create_app(settings)) as url:
        host, port = url.removeprefix("http://").split(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(20)]
        for connection in slow:
            headers = b"host: x\r\ncontent-type: text/csv\r\ncontent-length: 1000\r\n"
            connection.sendall(b"POST /v1/evaluations HTTP/1.1\r\n" + headers + b"\r\nmodel")
        assert httpx.get(f"{url}/v1/measurements", params={"limit": 1}, timeout=60).status_code == 200
        for connection in slow:
            connection.settimeout(60)
            with connection:
                assert connection.recv(65536).startswith(b"HTTP/1.1 408")


ASKED = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8}}


@pytest.mark.parametrize("path", ["/v1/estimates/batch", "/v1/evaluations"])
def test_who_hangs_up_while_sending_is_no_failure_of_the_service(client: httpx.Client, path: str) -> None:
    address = str(client.base_url.host), client.base_url.port
    with socket.create_connection(address, timeout=30) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b"{")
    counted = f'traincast_requests_total{{method="POST",route="{path}",status="'
    deadline = time.monotonic() + 30
    while f'{counted}400"}}' not in (metrics := client.get("/metrics").text) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert f'{counted}400"}}' in metrics
    assert f'{counted}500"}}' not in metrics


def until_closed(client: httpx.Client, *sent: bytes) -> bytes:
    """What the service answers before it closes a connection over which these are sent."""
    address = str(client.base_url.host), client.base_url.port
    answer = b""
    with socket.create_connection(address, timeout=30) as connection:
        try:
            for piece in sent:
                connection.sendall(piece)
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass  # closed while more was on its way
    return answer


def test_a_head_without_end_is_read_no_further(client: httpx.Client) -> None:
    begun = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: "
    answer = until_closed(client, begun, b"a" * 64 * 1024, b"a")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b" 200 " not in until_closed(client, begun, *[b"a" * 1_000_000] * 50)


def test_a_request_that_offers_another_protocol_is_read_whole(client: httpx.Client) -> None:
    headers = {"connection": "upgrade, http2-settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    answer = client.post("/v1/estimates", json=ASKED, headers=headers)
    assert answer.status_code == 200, answer.text
    lines = client.post(
        "/v1/estimates/batch",
        content=json.dumps(ASKED).encode(),
        headers=headers | {"content-type": "application/x-ndjson"},
    )
    assert len(lines.text.splitlines()) == 1


def test_many_requests_over_one_connection_are_each_a_head_of_their_own(client: httpx.Client) -> None:
    headers = {"x-long": "a" * 40_000}
    assert [client.get("/healthz", headers=headers).status_code for _ in range(4)] == [200] * 4
