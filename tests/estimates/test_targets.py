"""Time to a loss instead of time for an amount of data: what a published law says, and where it says nothing."""

from typing import Any

import httpx
import pytest

from service.engine.scaling_laws import BESIROGLU, HOFFMANN, tokens_for
from tests.estimates.test_estimates import estimate, refused

TARGET: dict[str, Any] = {
    "model": {"name": "llama-3-8b"},
    "data": {"sequence_length": 8192},
    "hardware": {"accelerator": "H100-SXM5-80GB", "count": 64},
    "target_loss": 2.15,
}


def assumed(answer: dict[str, Any]) -> dict[str, Any]:
    return {made["field"]: made for made in answer["assumptions"]}


def test_a_loss_takes_the_tokens_that_the_law_says_and_the_time_of_so_many(client: httpx.Client) -> None:
    times = {}
    for law in (BESIROGLU, HOFFMANN):
        answer = estimate(client, TARGET, scaling_law=law.name)
        said = assumed(answer)["data.tokens"]
        assert law.name in said["reason"]
        assert said["value"] == pytest.approx(tokens_for(law, 8.03e9, 2.15), rel=0.01)
        given = {**TARGET["data"], "tokens": said["value"]}
        stated = estimate(client, {name: TARGET[name] for name in ("model", "hardware")}, data=given)
        assert answer["duration_hours"]["p50"] == pytest.approx(stated["duration_hours"]["p50"], rel=1e-4)
        assert answer["duration_hours"]["p90"] > stated["duration_hours"]["p90"], "the law itself is uncertain"
        assert answer["throughput"] == stated["throughput"]
        times[law.name] = answer["duration_hours"]["p50"]
    assert len(set(times.values())) == 2


def test_a_model_without_a_size_gets_the_one_that_needs_least_compute(client: httpx.Client) -> None:
    open_size = estimate(client, TARGET, model={"family": "decoder"})
    best = assumed(open_size)["model.parameters"]["value"]
    for factor in (0.5, 2.0):
        other = estimate(client, TARGET, model={"family": "decoder", "parameters": best * factor})
        work = best * factor * assumed(other)["data.tokens"]["value"]
        assert work > best * assumed(open_size)["data.tokens"]["value"]


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        pytest.param({"target_loss": 1.9}, "2.07 to 2.58", "1.4e+12 tokens", id="beyond the tokens"),
        pytest.param({"model": {"name": "gpt-3-175b"}}, "7e+10", "parameters", id="beyond the parameters"),
        pytest.param({"model": {"family": "decoder"}, "target_loss": 1.7}, "1.97 to 3.31", "tokens", id="any size"),
        pytest.param({"model": {"name": "resnet-50"}}, "cnn", "data.samples", id="no language model"),
        pytest.param({"training": {"mode": "lora"}}, "lora", "data.tokens", id="not from scratch"),
        pytest.param({"data": {"tokens": 1e9}}, "data.tokens", "leave", id="two amounts"),
        pytest.param({"model": {"name": "ours", "family": "decoder"}}, "size", "model.parameters", id="no known size"),
    ],
)
def test_where_the_law_says_nothing_the_target_is_refused_with_its_range(
    client: httpx.Client, changes: dict[str, Any], message: str, hint: str
) -> None:
    error = refused(client, TARGET, **changes)
    assert error["field"] == "target_loss"
    assert message in error["message"]
    assert hint in error["hint"]


def test_what_was_checked_once_only_is_answered_with_a_warning(client: httpx.Client) -> None:
    answer = estimate(client, TARGET, model={"name": "llama-2-70b"}, target_loss=2.0)
    assert any("beyond the experiments" in warning for warning in answer["warnings"])
    assert not any("beyond the experiments" in warning for warning in estimate(client, TARGET)["warnings"])
