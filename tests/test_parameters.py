"""A query parameter that an operation lacks is refused, for a typo must not silently change an answer."""

import httpx
import pytest

ASKED = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8}}


@pytest.mark.parametrize(
    ("method", "path", "name", "hint"),
    [
        ("GET", "/v1/models?limt=5", "limt", "did you mean 'limit'? known here: cursor, family, limit, q"),
        ("POST", "/v1/estimates?fields=mfu&field=mfu", "field", "did you mean 'fields'? known here: fields"),
        ("GET", "/v1/models/resnet-50?verbose=true", "verbose", "there are none here"),
        ("GET", "/healthz?x", "x", "there are none here"),
        ("GET", "/v1/measurements?model.nam=bert-large", "model.nam", "did you mean 'model.name'?"),
    ],
)
def test_an_unknown_parameter_is_named_with_those_that_there_are(
    client: httpx.Client, method: str, path: str, name: str, hint: str
) -> None:
    answer = client.request(method, path, json=ASKED if method == "POST" else None)
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == name
    assert error["hint"] == hint


@pytest.mark.parametrize("path", ["/?model.name=bert-large", "/docs?x=1", "/assets/estimate.js?x=1"])
def test_pages_hold_what_they_like_in_their_address(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200
