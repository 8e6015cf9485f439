"""What would shorten a run: the figures are those of estimates, and what is taken for granted is said."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import httpx
import pytest

from service.catalog.catalog import load_catalog
from service.catalog.records import DATA
from service.engine.forecast import Forecaster
from service.engine.scaling_laws import BESIROGLU, loss
from service.levers.examples import EXAMPLES
from service.levers.schemas import Lever, Levers, LeversRequest
from service.levers.service import find_levers
from service.sites.standpoint import Standpoint

Find = Callable[..., Levers]

LLAMA: dict[str, Any] = {
    "model": {"name": "llama-2-7b"},
    "data": {"tokens": 20e9, "sequence_length": 4096},
    "hardware": {"accelerator": "A100-SXM4-80GB", "count": 16, "per_node": 8},
    "training": {"precision": "bf16", "global_batch": 128},
}
KNOWN = {"kept_fraction": 0.5, "finetune_tokens": 1e9}
RESNET: dict[str, Any] = EXAMPLES["resnet-50-transfer-learning"]["value"]


@pytest.fixture(scope="module")
def find() -> Find:
    catalog, standpoint = load_catalog(), Standpoint(Forecaster.load(DATA / "calibration.json.gz"))

    @cache
    def answered(request: str) -> Levers:
        answer = find_levers(LeversRequest.model_validate_json(request), catalog, standpoint)
        assert isinstance(answer, Levers), answer
        return answer

    def found(request: dict[str, Any], **changes: Any) -> Levers:
        return answered(json.dumps(request | changes))

    return found


def named(found: Levers, name: str) -> Lever:
    (lever,) = [one for one in (*found.levers, *found.combined, *found.recipe) if one.name == name]
    return lever


def reason(found: Levers, name: str) -> str:
    (why,) = [one.reason for one in found.not_applicable if one.name == name]
    return why


def with_change(request: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    changed = {name: dict(part) if isinstance(part, dict) else part for name, part in request.items()}
    changed.pop("assume", None)
    for path, value in change.items():
        section, dot, field = path.partition(".")
        if dot:
            changed[section] = {**changed.get(section, {}), field: value}
        else:
            changed[section] = value
    return changed


def test_a_levers_figures_are_those_of_the_estimate_with_its_change(client: httpx.Client) -> None:
    request = {**LLAMA, "assume": {"kept_fraction": 0.8}, "runs": 4}
    answer = client.post("/v1/levers", json=request)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    listed = [*found["levers"], *found["combined"], *found["recipe"]]
    assert {"more-accelerators-x2", "better-data", "runs-side-by-side", "other-machines"} <= {
        lever["name"] for lever in listed
    }
    requests = [with_change(request, lever["change"]) for lever in listed]
    base, *changed = client.post("/v1/estimates/batch", json=[with_change(request, {}), *requests]).json()
    assert found["baseline"]["duration_hours"]["p50"] == pytest.approx(base["duration_hours"]["p50"], rel=1e-5)
    for lever, estimate in zip(listed, changed, strict=True):
        for side in ("p10", "p50", "p90"):
            assert lever["duration_hours"][side] == pytest.approx(estimate["duration_hours"][side], rel=1e-5), lever
            if estimate["cost_usd"] is not None:
                cost = lever["at_once"] * estimate["cost_usd"][side]
                assert lever["cost_usd"][side] == pytest.approx(cost, rel=1e-5), lever
        assert lever["memory"]["peak_gb"]["p50"] == pytest.approx(estimate["memory"]["peak_gb"]["p50"], rel=1e-5)
        assert lever["grade"] == estimate["evidence"]["grade"]
        ratio = base["duration_hours"]["p50"] / estimate["duration_hours"]["p50"]
        assert lever["speedup"]["p50"] == pytest.approx(ratio, rel=1e-5), lever


def test_the_best_comes_first_and_shared_uncertainty_cancels(find: Find) -> None:
    found = find(LLAMA)
    gains = [lever.speedup.p50 for lever in found.levers]
    assert gains == sorted(gains, reverse=True)
    assert min(gains) > 1.0
    now = found.baseline.duration_hours
    assert now is not None
    for lever in found.levers:
        assert lever.speedup.p10 <= lever.speedup.p50 <= lever.speedup.p90
        assert lever.memory.fits
        assert lever.duration_hours is not None
    more = named(found, "more-accelerators-x2")
    assert more.speedup.p90 / more.speedup.p10 < now.p90 / now.p10
    stacked = found.combined[0]
    assert len(stacked.levers) > 1
    assert stacked.speedup.p50 > max(named(found, name).speedup.p50 for name in stacked.levers)


def test_what_would_not_fit_is_not_proposed_but_told(find: Find) -> None:
    found = find(LLAMA, model={"name": "llama-2-70b"}, training={**LLAMA["training"], "recompute": "full"})
    assert "recompute-none" not in {lever.name for lever in found.levers}
    assert "would not fit" in reason(found, "recompute-none")


def test_less_data_is_the_callers_word_or_said_to_be_an_illustration(find: Find) -> None:
    stated = named(find(LLAMA, assume=KNOWN), "better-data")
    assert stated.basis == "caller"
    assert stated.speedup.p50 == pytest.approx(2.0, rel=0.02)
    illustrated = named(find(LLAMA), "better-data")
    assert illustrated.basis == "assumption"
    assert "assume.kept_fraction" in str(illustrated.assumed)
    assert "assume.kept_fraction" in reason(find(RESNET), "better-data")


def test_transfer_learning_takes_what_suffices(find: Find) -> None:
    stated = find(LLAMA, assume=KNOWN)
    for name in ("finetune", "lora", "qlora", "frozen"):
        lever = named(stated, f"{name}-instead-of-scratch")
        assert (lever.change["data.tokens"], lever.basis) == (1e9, "caller")
    assert named(stated, "frozen-instead-of-scratch").grade == "extrapolated", "no measured row freezes a backbone"
    images = find(RESNET)
    published = named(images, "finetune-instead-of-scratch")
    assert published.basis == "published"
    assert "1805.08974" in str(published.assumed)
    assert published.change["data.samples"] == pytest.approx(90 * 1_281_167 / 17, rel=0.01)
    assert not any(lever.name.startswith("lora") for lever in images.levers)
    tuned = find(LLAMA, training={**LLAMA["training"], "mode": "finetune"})
    lora = named(tuned, "lora-instead-of-full-fine-tuning")
    assert lora.speedup.p50 > 1.0
    assert lora.memory.peak_gb.p50 < tuned.baseline.memory.peak_gb.p50


def test_a_smaller_model_reaches_the_same_loss_by_the_law(find: Find) -> None:
    smaller = named(find(LLAMA), "smaller-model")
    parameters, tokens = (float(str(smaller.change[path])) for path in ("model.parameters", "data.tokens"))
    assert parameters < 6.7e9
    assert tokens > 20e9
    assert loss(BESIROGLU, parameters, tokens) == pytest.approx(loss(BESIROGLU, 6.74e9, 20e9), abs=1e-3)
    assert smaller.basis == "scaling_law"
    assert BESIROGLU.name in str(smaller.assumed)
    beyond = find(LLAMA, model={"name": "gpt-3-175b"}, hardware={"accelerator": "H100", "count": 1024})
    assert "7e+10" in reason(beyond, "smaller-model")


def test_time_against_the_batch_has_an_optimum(find: Find) -> None:
    curve = find(RESNET, assume={"critical_batch": 1000}).batch
    assert curve is not None
    assert curve.basis == "caller"
    hours = [point.duration_hours.p50 for point in curve.points]
    best = [point.global_batch for point in curve.points].index(curve.best_global_batch)
    assert 0 < best < len(hours) - 1
    assert hours[best] == min(hours)
    samples = [point.samples for point in curve.points]
    assert samples == sorted(samples)
    steps = [point.steps for point in curve.points]
    assert steps == sorted(steps, reverse=True)
    published = find(RESNET).batch
    assert published is not None
    assert (published.critical_batch, published.basis) == (15_000, "published")
    by_law = find(LLAMA).batch
    assert by_law is not None
    assert by_law.basis == "scaling_law"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {"training": {**LLAMA["training"], "tensor_parallel": 8, "pipeline_parallel": 2, "recompute": "full"}},
            {"layout-search", "recompute-selective"},
            id="a stated layout",
        ),
        pytest.param(
            {"training": {**LLAMA["training"], "offload": "cpu", "sharding": "zero1"}},
            {"no-offload"},
            id="states on the host",
        ),
        pytest.param(
            {"training": {"precision": "fp32", "global_batch": 128}},
            {"precision-tf32", "precision-bf16"},
            id="fp32",
        ),
        pytest.param(
            {"hardware": {"accelerator": "H100-SXM5-80GB", "count": 32, "inter_node_gbs": 3}},
            {"precision-fp8", "attention-flash3", "network-25-gbs"},
            id="Hopper on a slow network",
        ),
        pytest.param(
            {
                "hardware": {"accelerator": "A100-PCIe-80GB", "count": 8},
                "training": {**LLAMA["training"], "tensor_parallel": 8},
                "software": {"attention": "math"},
            },
            {"fast-links-A100-SXM4-80GB", "attention-flash2", "layout-search"},
            id="cards in slots",
        ),
    ],
)
def test_levers_follow_from_what_the_run_lacks(find: Find, changes: dict[str, Any], expected: set[str]) -> None:
    assert expected <= {lever.name for lever in find(LLAMA, **changes).levers}
    assert not expected & {lever.name for lever in find(LLAMA).levers}


def test_recipes_reckon_with_the_callers_word_alone(find: Find) -> None:
    found = find(RESNET, runs=4, assume={"optimizer_steps": {"lion": 0.5}, "augmented_epochs": 180})
    lion, adafactor = named(found, "optimizer-lion"), named(found, "optimizer-adafactor")
    assert lion.speedup.p50 == pytest.approx(2.0, rel=0.03)
    assert (lion.basis, adafactor.basis) == ("caller", "forecast")
    assert adafactor.speedup.p50 == pytest.approx(1.0, rel=0.03)
    augmented = named(found, "augmentation")
    assert augmented.speedup.p50 == pytest.approx(0.5, rel=0.02)
    side_by_side = named(found, "runs-side-by-side")
    assert side_by_side.change["hardware.count"] == 2
    assert side_by_side.at_once == 4


def test_own_prices_and_links_are_not_of_other_machines(find: Find) -> None:
    hardware = {**LLAMA["hardware"], "interconnect": "NVLink; 8x IB HDR"}
    found = find(LLAMA, hardware=hardware, pricing={"usd_per_accelerator_hour": 1.5})
    for lever in found.levers:
        if lever.name.startswith("accelerator-"):
            assert {"pricing.usd_per_accelerator_hour", "hardware.interconnect"} <= lever.change.keys()
    more = named(found, "more-accelerators-x2")
    assert more.cost_usd is not None
    assert more.duration_hours is not None
    assert more.cost_usd.p50 == pytest.approx(1.5 * 32 * more.duration_hours.p50, rel=1e-5)


def test_other_machines_are_stacked_with_what_they_have(find: Find) -> None:
    """Kernels of the chip that the run leaves are none of the chip that it goes to."""
    found = find(LLAMA, hardware={"accelerator": "H100-SXM5-80GB", "count": 8})
    assert "attention-flash3" in {lever.name for lever in found.levers}
    (other,) = [lever for lever in found.combined if lever.name == "other-machines"]
    assert str(other.change["hardware.accelerator"]).startswith(("MI", "GB", "B"))
    assert other.change.get("software.attention") != "flash3"


def test_what_the_caller_assumes_is_used_or_answered(find: Find) -> None:
    request = {name: part for name, part in RESNET.items() if name != "data"}
    assume = {"kept_fraction": 0.5, "optimizer_steps": {"lion": 0.5}, "augmented_epochs": 9, "pretraining_samples": 1e6}
    found = find(request, assume=assume)
    for name in ("better-data", "optimizer-lion", "augmentation", "self-supervised-pretraining", "global-batch"):
        assert reason(found, name)
    assert "finetune_samples" in reason(find(RESNET, assume={"finetune_tokens": 1e6}), "transfer-learning")
    assert "the run's own" in reason(find(RESNET, assume={"optimizer_steps": {"sgd": 0.5}}), "optimizer-sgd")


def test_a_target_loss_gives_way_to_the_amount_that_a_lever_sets(find: Find) -> None:
    aimed = {**LLAMA, "data": {"sequence_length": 4096}, "target_loss": 2.3}
    found = find(aimed)
    assert named(found, "smaller-model").change["target_loss"] is None
    assert "target_loss" not in named(found, "more-accelerators-x2").change
    of_any_size = named(find(aimed, model={"family": "decoder"}), "better-data")
    assert {"model.parameters", "data.samples"} <= of_any_size.change.keys()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hardware": {"accelerator": "H1000"}}, "hardware.accelerator"),
        ({"assume": {"kept_fraction": 1.5}}, "assume.kept_fraction"),
        ({"assume": {"kept": 0.5}}, "assume.kept"),
        ({"save": True}, "save"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_its_field(
    client: httpx.Client, changes: dict[str, Any], field: str
) -> None:
    answer = client.post("/v1/levers", json=LLAMA | changes)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
