"""What a team keeps to itself stays with it: everybody else's answers are the same with and without it."""

import base64
from typing import Any

import httpx
import pytest

from tests.conftest import Team
from tests.submissions.samples import USUAL_RATE, sample

PATH = "/v1/measurements"
READS: tuple[tuple[str, dict[str, Any]], ...] = (
    (PATH, {"hardware.accelerator": "V100-SXM2-16GB", "model.name": "resnet-50", "limit": 1000}),
    (PATH, {"model.name.contains": "secret"}),
    (PATH, {"provenance.source.contains": "secret"}),
    ("/v1/sources", {"limit": 1000}),
    (f"{PATH}/export", {"format": "ndjson", "model.name.contains": "secret"}),
    (f"{PATH}/export", {"status": "quarantined"}),
    ("/v1/calibrations/current", {}),
)


def secrets(team: Team) -> list[dict[str, Any]]:
    """Private rows of a team: one accepted, one far off the forecast."""
    made = []
    for rate in (USUAL_RATE, USUAL_RATE / 12):
        submitted = sample(
            rate, visibility="team", provenance={"source": f"secret-{team.name}", "notes": "secret"}, site="secret-lab"
        )
        answer = team.http.post(PATH, json=submitted)
        assert answer.status_code == 201, answer.text
        made.append(answer.json() | {"submitted": submitted})
    return made


def test_nothing_that_others_read_changes(ours: Team, theirs: Team, anybody: httpx.Client) -> None:
    def all_that_they_read() -> list[str]:
        answers = [reader.get(path, params=query) for reader in (theirs.http, anybody) for path, query in READS]
        assert {answer.status_code for answer in answers} == {200}
        return [answer.text for answer in answers]

    before = all_that_they_read()
    made = secrets(ours)
    assert all_that_they_read() == before
    found = ours.http.get(PATH, params={"provenance.source": f"secret-{ours.name}"}).json()["items"]
    assert [item["id"] for item in found] == [row["id"] for row in made]


@pytest.mark.parametrize("call", ["get", "accept", "reject", "withdraw"])
def test_its_id_opens_nothing_to_others(ours: Team, theirs: Team, call: str) -> None:
    """Answers are those to an id that never was, word for word."""
    secret = secrets(theirs)[0]["id"]

    def ask(identifier: str) -> httpx.Response:
        path = f"{PATH}/{identifier}"
        if call == "get":
            return ours.http.get(path)
        return ours.http.delete(path) if call == "withdraw" else ours.http.post(f"{path}/{call}")

    hidden, absent = ask(secret), ask("m_0123456789")
    assert hidden.status_code == absent.status_code == 404
    assert hidden.json()["detail"].replace(secret, "X") == absent.json()["detail"].replace("m_0123456789", "X")


def test_another_teams_forecast_is_no_forecast_of_mine(ours: Team, theirs: Team, anybody: httpx.Client) -> None:
    configuration = {name: part for name, part in sample().items() if name not in ("result", "provenance")}
    hidden, open_to_all = (
        http.post("/v1/estimates", json=configuration | {"save": True}).json()["id"] for http in (ours.http, anybody)
    )
    for saved, status in ((hidden, 422), (open_to_all, 201), ("e_unknown", 422)):
        answer = theirs.http.post(PATH, json=sample(estimate_id=saved))
        assert answer.status_code == status, answer.text
        row = theirs.http.post(
            f"{PATH}/import", json=sample(estimate_id=saved), headers={"content-type": "application/x-ndjson"}
        ).json()
        assert row["items"][0]["outcome"] == ("accepted" if status == 201 else "refused")
    refused, unknown = (
        str(theirs.http.post(PATH, json=sample(estimate_id=name)).json()["errors"]).replace(name, "")
        for name in (hidden, "e_unknown")
    )
    assert refused == unknown, "that there is one is not told"
    assert ours.http.post(PATH, json=sample(estimate_id=hidden)).status_code == 201


def test_cursors_count_no_hidden_rows_and_open_none(ours: Team, theirs: Team, anybody: httpx.Client) -> None:
    secret = secrets(ours)[0]["id"]
    position = base64.urlsafe_b64encode(secret.encode()).decode().rstrip("=")
    assert anybody.get(PATH, params={"cursor": position}).status_code == 422
    page = anybody.get(PATH, params={"limit": 1}).json()
    shown = base64.urlsafe_b64decode(page["next_cursor"] + "==").decode()
    assert shown == page["items"][0]["id"], "a cursor says no more than the page does"


def test_a_private_row_is_nobody_elses_duplicate(ours: Team, theirs: Team) -> None:
    secret = secrets(ours)[0]
    answer = theirs.http.post(PATH, json=secret["submitted"] | {"visibility": "shared", "site": "elsewhere"})
    assert answer.status_code == 201
    assert answer.json()["duplicate"] is False


def test_a_private_row_vouches_for_nobody(ours: Team, theirs: Team) -> None:
    """That a quarantine was lifted would tell of the row that lifted it."""
    model = {"name": f"quiet-{ours.name}", "family": "cnn", "forward_gmacs": 4.1, "activations": 11e6}
    ours.http.post(PATH, json=sample(USUAL_RATE / 12, visibility="team", model=model)).raise_for_status()
    assert theirs.http.post(PATH, json=sample(USUAL_RATE / 12, model=model)).json()["status"] == "quarantined"


def test_the_audit_of_others_is_not_shown(ours: Team, theirs: Team) -> None:
    secret = secrets(ours)[0]["id"]
    assert theirs.http.get("/v1/audit", params={"subject": secret}).json()["items"] == []
    assert ours.http.get("/v1/audit", params={"subject": secret}).json()["items"]


def test_a_complete_export_is_an_administrators(theirs: Team, anybody: httpx.Client) -> None:
    assert theirs.http.get(f"{PATH}/export", params={"complete": True}).status_code == 403
    assert anybody.get(f"{PATH}/export", params={"complete": True}).status_code == 401
