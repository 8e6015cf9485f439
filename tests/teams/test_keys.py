"""Keys: made once, kept as a hash, scoped, revoked within seconds; limits and closed doors."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from service.app import create_app
from service.cli import app
from service.database import Database
from service.security import KEY_AGE_SECONDS
from service.settings import Settings, get_settings
from service.teams.service import is_genuine, prefix_of
from tests.conftest import make_key, serving
from tests.submissions.samples import sample

PATH = "/v1/measurements"


@pytest.fixture
def database(seeded_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of this test's own, which the command's settings point to."""
    monkeypatch.setenv("TRAINCAST_DATABASE_URL", seeded_database)
    get_settings.cache_clear()
    yield seeded_database
    get_settings.cache_clear()


def keys(*arguments: str) -> Any:
    """What `traincast keys ... --json` prints."""
    result = CliRunner().invoke(app, ["keys", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    body: dict[str, Any] = answer.json()
    return body


def test_a_key_is_shown_once_and_only_its_hash_is_kept(database: str) -> None:
    made = keys("create", "--team", "vision", "--scope", "submit", "--scope", "curate")
    assert set(made) == {"id", "key", "team", "scopes"}
    (listed,) = keys("list")
    assert (listed["id"], listed["team"], listed["scopes"]) == (made["id"], "vision", ["submit", "curate"])
    assert listed["last_used_at"] is None

    async def everything() -> str:
        opened = Database(database)
        async with opened.engine.connect() as connection:
            rows = (await connection.execute(text("SELECT * FROM api_keys"))).all()
        await opened.close()
        return str(rows)

    secret = made["key"].removeprefix(listed["prefix"])
    assert secret not in asyncio.run(everything())
    assert secret not in json.dumps(listed)


@pytest.mark.parametrize("arguments", [["--team", "x", "--scope", "fly"], ["--team", " ", "--scope", "submit"]])
def test_a_key_that_makes_no_sense_is_refused(database: str, arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["keys", "create", *arguments])
    assert result.exit_code == 1
    assert result.stderr.strip()


def test_a_revoked_key_is_refused_within_seconds(database: str) -> None:
    made = keys("create", "--team", "vision", "--scope", "submit")
    with serving(create_app(Settings(database_url=database))) as url, httpx.Client(base_url=url, timeout=60) as http:
        assert http.post(PATH, json=sample(), headers=bearer(made["key"])).status_code == 201
        assert keys("revoke", made["id"])["revoked_at"]
        time.sleep(KEY_AGE_SECONDS + 0.5)
        body = problem(http.post(PATH, json=sample(), headers=bearer(made["key"])), 401)
        assert "revoked" in body["detail"]
    (listed,) = keys("list")
    assert listed["last_used_at"]


def test_wrong_keys_open_nothing_not_even_what_is_open(client: httpx.Client) -> None:
    for key in ("x", "tc_000000000000_x", "tc_é_x"):
        answer = client.get(PATH, headers=[(b"authorization", f"Bearer {key}".encode())])
        problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    problem(client.get(PATH, headers={"authorization": "Basic dTpw"}), 401)


def test_a_call_says_which_scope_it_needs(database: str) -> None:
    curate_only = make_key(database, "vision", "curate")
    with serving(create_app(Settings(database_url=database))) as url, httpx.Client(base_url=url, timeout=60) as http:
        assert "submit" in problem(http.post(PATH, json=sample()), 401)["detail"]
        answer = http.post(PATH, json=sample(), headers=bearer(curate_only))
        assert "submit" in problem(answer, 403)["detail"]
        assert 'scope="submit"' in answer.headers["www-authenticate"]


def test_a_closed_service_answers_to_keys_only(seeded_database: str) -> None:
    key = make_key(seeded_database, "vision", "submit")
    settings = Settings(database_url=seeded_database, open_reading=False, anonymous_requests_per_minute=3)
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as http:
        for path in ("/v1/sources", "/metrics"):
            problem(http.get(path), 401)
            assert http.get(path, headers=bearer(key)).status_code == 200
        knocks = [http.get("/v1/sources").status_code for _ in range(2)]
        assert knocks == [401, 429], "what is refused counts, too"
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            assert http.get(path).status_code == 200, path


def test_requests_are_limited_by_key_and_by_address(seeded_database: str) -> None:
    key = make_key(seeded_database, "vision", "submit")
    settings = Settings(database_url=seeded_database, anonymous_requests_per_minute=3, key_requests_per_minute=5)
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as http:
        anonymous = [http.get("/v1/accelerators/T4") for _ in range(4)]
        assert [answer.status_code for answer in anonymous] == [200, 200, 200, 429]
        assert 1 <= int(anonymous[-1].headers["retry-after"]) <= 60
        assert "try again" in problem(anonymous[-1], 429)["detail"]
        keyed = [http.get("/v1/accelerators/T4", headers=bearer(key)) for _ in range(6)]
        assert [answer.status_code for answer in keyed] == [200] * 5 + [429]
        assert http.get("/healthz").status_code == 200


def test_callers_by_ipv6_are_counted_by_their_network(shared_database: str) -> None:
    settings = Settings(database_url=shared_database, anonymous_requests_per_minute=2)

    def status(http: httpx.Client, address: str) -> int:
        return http.get("/v1/accelerators/T4", headers={"x-forwarded-for": address}).status_code

    with serving(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as http:
        assert [status(http, f"2001:db8:0:7:{end}::1") for end in ("1", "a", "ff")] == [200, 200, 429]
        assert status(http, "2001:db8:0:8::1") == 200, "another network is another caller"
        assert [status(http, address) for address in ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1")] == [200, 200, 429]
        assert status(http, "192.0.2.2") == 200


def test_guessing_keys_is_limited_by_address(seeded_database: str) -> None:
    settings = Settings(database_url=seeded_database, anonymous_requests_per_minute=3)
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as http:
        guesses = [http.get("/v1/sources", headers=bearer(f"tc_00000000000{n}_x")).status_code for n in range(4)]
    assert guesses == [401, 401, 401, 429]


def test_what_costs_much_has_a_budget(seeded_database: str) -> None:
    key = make_key(seeded_database, "vision", "submit")
    settings = Settings(database_url=seeded_database, anonymous_budget_per_hour=45, key_budget_per_hour=1000)
    run = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "T4"}}
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as http:
        saved = [http.post("/v1/estimates", json=run | {"save": True}).status_code for _ in range(3)]
        assert saved == [201, 201, 429]
        assert http.post("/v1/estimates", json=run).status_code == 200, "what is cheap stays free"
        assert http.post("/v1/estimates/batch", json=[run] * 4).status_code == 200
        refused = http.post("/v1/estimates/batch", json=[run] * 4)
        assert problem(refused, 429)["detail"]
        lines = b"\n".join([json.dumps(run).encode()] * 46)
        unfinished = http.post("/v1/estimates/batch", content=lines, headers={"content-type": "application/x-ndjson"})
        assert "46" in problem(unfinished, 422)["detail"], "a last line without its end counts too"
        too_dear = http.post("/v1/levers", json=run)
        assert "smaller parts" in problem(too_dear, 422)["detail"], "to wait would not help"
        assert http.post("/v1/offers", json=run | {"data": {"name": "imagenet-1k", "epochs": 1}}).status_code == 429
        assert http.post("/v1/levers", json=run, headers=bearer(key)).status_code == 200
        assert http.post("/v1/estimates/batch", json=[run] * 40, headers=bearer(key)).status_code == 200


def test_only_the_whole_key_is_genuine() -> None:
    assert prefix_of("tc_ab_secret_with_underscores") == "tc_ab"
    assert prefix_of("nonsense") is None
    assert not is_genuine("tc_ab_c", b"")
