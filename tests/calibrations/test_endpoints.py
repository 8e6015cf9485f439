"""Calibrations over HTTP: the one in use and its track record, lists, and who may fit and activate."""

import gzip
import json
import math
from datetime import UTC, datetime
from statistics import median

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.app import create_app
from service.calibrations.repository import CalibrationRepository, Outcome
from service.calibrations.service import track_record
from service.estimates.schemas import GoodputAssumptions
from service.seed import CALIBRATION
from service.settings import Settings
from tests.conftest import Databases, serving
from tests.replicas import in_database, make_key, submit, wait_until

RUN = {
    "provenance.source": "ours",
    "model.name": "resnet-50",
    "hardware.accelerator": "V100-SXM2-16GB",
    "result.value": 800.0,
    "result.unit": "samples_per_second",
}


def test_the_current_calibration_is_described(client: httpx.Client) -> None:
    body = client.get("/v1/calibrations/current").json()
    assert body["version"]
    assert len(body["fingerprint"]) == 64
    assert body["measurements"] > 10_000
    assert body["activated_at"]
    names = [coefficient["name"] for coefficient in body["coefficients"]]
    assert "compute_efficiency" in names
    for coefficient in body["coefficients"]:
        assert coefficient["unit"]
        assert coefficient["source"]
        assert coefficient["standard_deviation"] >= 0
    assert all(spread["standard_deviation"] >= 0 for spread in body["spreads"])
    assert body["accuracy"]["by_source"]
    assert body["accuracy"]["by_family"]


def test_what_it_was_fitted_on_is_shown_beside_what_it_predicts(client: httpx.Client) -> None:
    body = client.get("/v1/calibrations/current/measurements", params={"per_lineage": 5}).json()
    lineages = [point["lineage"] for point in body["items"]]
    assert max(lineages.count(lineage) for lineage in lineages) == 5
    sources = client.get("/v1/sources", params={"limit": 1000}).json()["items"]
    assert set(lineages) == {source["lineage"] for source in sources if source["rows"]}
    point = next(point for point in body["items"] if point["lineage"] == "alpa-osdi22")
    row = client.get(f"/v1/measurements/{point['id']}").json()
    assert row["result"]["unit"] == "seconds_per_step"
    assert point["measured_seconds"] == pytest.approx(
        row["result"]["value"] / row["training"]["global_batch"], rel=1e-3
    )
    errors = [abs(math.log(point["predicted_seconds"] / point["measured_seconds"])) for point in body["items"]]
    assert median(errors) < math.log(1.5)


def test_its_accuracy_is_told_cold_and_warm_by_every_name(client: httpx.Client) -> None:
    accuracy = client.get("/v1/calibrations/current").json()["accuracy"]
    assert "lineage" in accuracy["protocol"]
    assert set(accuracy["overall"]) == set(accuracy["warm"]["overall"]) == {"transformer", "other"}
    for part in (accuracy, accuracy["warm"]):
        for name in ("by_family", "by_grade", "by_source"):
            assert part[name], name
        for points in part["reliability"].values():
            assert [point["nominal"] for point in points] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
            assert all(0.0 <= point["observed"] <= 1.0 for point in points)
    assert all(entry["rows"] >= 20 for entry in accuracy["by_accelerator"].values())
    assert all(entry["class"] in ("transformer", "other") for entry in accuracy["by_source"].values())
    for name, entry in accuracy["warm"]["by_source"].items():
        assert entry["repeat_scatter"] == accuracy["repeat_scatter"].get(name, {}).get("mape"), name
        assert entry["goal"] >= 0.07


def test_every_constant_of_whole_runs_is_published_with_its_sources(client: httpx.Client) -> None:
    factors = client.get("/v1/calibrations/current").json()["operating_factors"]
    names = {factor["name"] for factor in factors}
    stated = set(GoodputAssumptions.model_fields) - {"share", "checkpoint_interval_hours"}
    assert stated <= names, "what a request may state is published where it does not"
    assert {"longest_checkpoint_interval_hours", "node_power", "accelerator_share", "network_power"} <= names
    for factor in factors:
        assert factor["unit"]
        assert factor["meaning"]
        assert factor["sources"], factor["name"]
        if factor["p10"] is not None:
            assert factor["p10"] <= factor["p50"] <= factor["p90"]


def test_an_estimate_names_the_current_calibration(client: httpx.Client) -> None:
    current = client.get("/v1/calibrations/current").json()["version"]
    request = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "T4"}}
    answer = client.post("/v1/estimates", json=request).json()
    assert answer["evidence"]["calibration"] == current


def test_the_list_says_which_one_is_in_use(client: httpx.Client) -> None:
    body = client.get("/v1/calibrations").json()
    (shipped,) = body["items"]
    assert body["next_cursor"] is None
    assert (shipped["status"], shipped["trigger"], shipped["in_use"]) == ("succeeded", "shipped", True)
    one = client.get(f"/v1/calibrations/{shipped['version']}").json()
    current = client.get("/v1/calibrations/current").json()
    assert one["content"]["coefficients"] == current["coefficients"]


def test_an_unknown_one_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/v1/calibrations/none-such")
    assert answer.status_code == 404
    assert "GET /v1/calibrations lists them" in answer.json()["detail"]


def test_a_foreign_cursor_is_refused(client: httpx.Client) -> None:
    for cursor in ("x", "MjAyNi0wMS0wMSB2"):
        answer = client.get("/v1/calibrations", params={"cursor": cursor})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize("path", ["", "/some-version/activate"])
def test_fitting_and_activating_need_a_key_that_may(client: httpx.Client, service_database: str, path: str) -> None:
    submitter, _ = make_key(service_database, "submitters", ["submit"])
    assert client.post(f"/v1/calibrations{path}").status_code == 401
    answer = client.post(f"/v1/calibrations{path}", headers=submitter)
    assert answer.status_code == 403
    assert "calibrate" in answer.json()["detail"]


def test_what_cannot_be_activated_is_said(client: httpx.Client, service_database: str) -> None:
    key, _ = make_key(service_database, "calibrators", ["calibrate"])
    assert client.post("/v1/calibrations/none-such/activate", headers=key).status_code == 404


@pytest.mark.slow_on("postgresql")
def test_one_that_cannot_answer_replaces_none_that_can(seeded_database: str, caplog: pytest.LogCaptureFixture) -> None:
    def put(version: str, **damage: object) -> None:
        document = json.loads(gzip.decompress(CALIBRATION.read_bytes())) | damage

        async def work(session: AsyncSession) -> None:
            content = gzip.compress(json.dumps(document).encode(), 1)
            await CalibrationRepository(session).put(version, content, fingerprint="0" * 64, at=datetime.now(UTC))

        in_database(seeded_database, work)

    with serving(create_app(Settings(database_url=seeded_database))) as url, httpx.Client(base_url=url) as http:
        before = http.get("/readyz").json()
        put("damaged", sigma=math.nan)
        wait_until(lambda: "calibration damaged cannot be used" in caplog.text, "it is looked at")
        assert http.get("/readyz").json() == before
        assert f'traincast_calibration_info{{version="{before["calibration"]}"}} 1.0' in http.get("/metrics").text
        put("whole")
        wait_until(lambda: http.get("/readyz").json()["calibration"] == "whole", "the next one is in use")


def test_lists_are_paged_newest_first(seeded_database: str) -> None:
    async def work(session: AsyncSession) -> None:
        repository = CalibrationRepository(session)
        made: list[str] = []
        for _ in range(3):
            row = await repository.request(trigger="request", forced=False, team_id=None)
            await repository.fail(row.version, "no luck")
            made.insert(0, row.version)
        listed: list[str] = []
        page, cursor = await repository.page(limit=1)
        while cursor is not None:
            listed += [row.version for row in page]
            page, cursor = await repository.page(limit=1, cursor=cursor)
        listed += [row.version for row in page]
        assert listed[:3] == made
        assert len(listed) == 4, "and the one that ships"

    in_database(seeded_database, work)


def test_requests_that_wait_are_joined_and_force_counts(seeded_database: str) -> None:
    async def work(session: AsyncSession) -> None:
        repository = CalibrationRepository(session)
        first = await repository.request(trigger="request", forced=False, team_id=None)
        second = await repository.request(trigger="request", forced=True, team_id=None)
        assert second.version == first.version
        await session.refresh(first)
        assert first.forced

    in_database(seeded_database, work)


def test_the_track_record_is_of_what_the_caller_may_see(databases: Databases) -> None:
    url = databases.seeded()
    ours, team_id = make_key(url, "ours")
    theirs, _ = make_key(url, "theirs")
    forecast = {"team_id": team_id, "site": "ours", "forecast_covered": True}
    submit(url, [RUN], forecast_error_log=0.1, **forecast)
    submit(url, [RUN], forecast_error_log=0.3, status="quarantined", **forecast)
    submit(url, [RUN], forecast_error_log=5.0, status="rejected", **forecast)
    submit(url, [RUN], forecast_error_log=5.0, status="withdrawn", **forecast)
    submit(url, [RUN], forecast_error_log=0.5, visibility="team", **(forecast | {"forecast_covered": False}))
    with serving(create_app(Settings(database_url=url))) as address, httpx.Client(base_url=address) as client:
        path = "/v1/calibrations/current"
        everybody = client.get(path).json()["track_record"]
        assert client.get(path, headers=theirs).json()["track_record"] == everybody
        own = client.get(path, headers=ours).json()["track_record"]
    assert (everybody["n"], everybody["coverage_80"]) == (2, 1.0)
    assert everybody["bias"] == pytest.approx(0.2)
    assert own["n"] == 3
    assert own["bias"] == pytest.approx(0.3)
    assert own["coverage_80"] == pytest.approx(2 / 3)


FORECASTS = ((1.1, True), (0.8, True), (2.0, False))


def test_a_track_record_says_how_far_off_forecasts_were() -> None:
    record = track_record([Outcome("a", math.log(ratio), covered) for ratio, covered in FORECASTS])
    assert (record.n, record.teams) == (3, 1)
    assert record.mape == pytest.approx((0.1 + 0.2 + 1.0) / 3)
    assert record.median_ape == pytest.approx(0.2)
    assert record.bias == pytest.approx(math.log(1.1))
    assert record.coverage_80 == pytest.approx(2 / 3)


def test_one_team_however_many_rows_moves_the_track_record_no_further_than_between_the_others() -> None:
    honest = [Outcome(team, error, True) for team, error in (("a", 0.1), ("b", 0.2))]
    record = track_record([*honest, *(Outcome("c", 5.0, False) for _ in range(1000))])
    assert (record.teams, record.coverage_80) == (3, 1.0)
    assert record.bias == pytest.approx(0.2)


def test_without_forecasts_there_is_no_track_record() -> None:
    assert track_record([]).model_dump() == {
        "n": 0, "teams": 0, "mape": None, "median_ape": None, "bias": None, "coverage_80": None,
    }  # fmt: skip
