"""The search over layouts: what it offers can run, nothing is lost on the way, and what it skips is no better."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.catalog.catalog import Catalog
from service.catalog.resolution import Unresolvable
from service.catalog.resolve import resolve, resolve_open
from service.catalog.resolve_layout import assume_batch
from service.engine.forecast import Forecaster
from service.engine.layout_space import DEGREES, spaces
from service.engine.memory import memory_parts
from service.engine.search import HEAD_ROOM, search
from service.engine.step_inputs import prepare
from service.engine.step_time import log_seconds_per_sample
from service.engine.table import Table
from tests.engine.conftest import GPT3, LLAMA

Values = dict[str, float | str]

MIXTRAL: dict[str, Any] = {
    "model.name": "mixtral-8x7b",
    "data.sequence_length": 4096,
    "hardware.accelerator": "H100-SXM5-80GB",
    "hardware.count": 64,
    "training.global_batch": 1024,
}


def run_of(catalog: Catalog, flat: dict[str, Any]) -> tuple[Values, frozenset[str]]:
    """Engine values of a run whose layout is open, and what of it is fixed."""
    resolved = resolve_open(flat, catalog)
    return resolved.values, assume_batch(flat, resolved)


runs = st.fixed_dictionaries(
    {
        "model.family": st.just("decoder"),
        "model.layers": st.integers(1, 130),
        "model.attention_heads": st.sampled_from([4, 12, 16, 40, 64, 96]),
        "model.hidden_size": st.sampled_from([768, 1024, 4096, 12288]),
        "data.sequence_length": st.sampled_from([512, 4096, 65536]),
        "hardware.accelerator": st.sampled_from(["A100-SXM4-80GB", "V100-SXM2-16GB", "GB200-186GB", "T4"]),
        "hardware.count": st.sampled_from([1, 2, 3, 6, 8, 12, 24, 96, 100, 512]),
        "training.global_batch": st.sampled_from([1, 7, 48, 256, 1536]),
    }
)


@given(flat=runs, experts=st.sampled_from([0, 0, 8, 60]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_offered_can_run_and_all_else_is_counted(
    catalog: Catalog, forecaster: Forecaster, flat: dict[str, Any], experts: int
) -> None:
    sparse = {"model.family": "moe", "model.experts": experts, "model.experts_per_token": 2} if experts else {}
    values, stated = run_of(catalog, {**flat, **sparse})
    found = search([values], stated, forecaster.judge, offloads=("none", "cpu"), most=10_000)
    (candidates,) = found.candidates
    fitting = [candidate for candidate in candidates if candidate.fits]
    assert found.considered == sum(found.rejected.values()) + len(fitting)
    assert all(many > 0 for many in found.rejected.values())
    for candidate in candidates:
        degree = {name: float(candidate.layout[name]) for name in DEGREES}
        model = degree["tensor_parallel"] * degree["pipeline_parallel"] * degree["context_parallel"]
        assert model * degree["data_parallel"] == values["count"]
        assert float(values["attention_heads"]) % degree["tensor_parallel"] == 0
        stages = degree["pipeline_parallel"] * degree["virtual_pipeline"]
        assert np.ceil(float(values["layers"]) / stages) * stages <= 1.05 * float(values["layers"])
        assert degree["data_parallel"] % degree["expert_parallel"] == 0
        assert max(experts, 1) % degree["expert_parallel"] == 0
        share = float(values["global_batch"]) / degree["data_parallel"]
        assert degree["micro_batch"] < share + 1
        # The fullest replica computes all of its samples, and no more than it must.
        computed = degree["micro_batch"] * degree["gradient_accumulation"]
        assert share <= computed < share + 1 or (share >= 8 and computed <= 1.125 * share)
        if degree["virtual_pipeline"] > 1:
            assert degree["gradient_accumulation"] % degree["pipeline_parallel"] == 0
    quickness = [candidate.log_seconds for candidate in fitting]
    assert quickness == sorted(quickness)


@pytest.mark.parametrize("flat", [GPT3, {**LLAMA, "hardware.count": 64}, MIXTRAL], ids=["gpt-3", "llama", "mixtral"])
def test_no_way_of_holding_states_that_is_skipped_is_quicker(
    catalog: Catalog, forecaster: Forecaster, flat: dict[str, Any]
) -> None:
    # Who states a micro-batch may fill the memory further.
    left_open = ("training.sharding", "training.recompute", "training.micro_batch")
    given = {name: value for name, value in flat.items() if name not in left_open}
    values, stated = run_of(catalog, given)
    judge = forecaster.judge
    (best, *_) = search([values], stated, judge).candidates[0]
    (divided,) = spaces([values], stated)
    ways = list(product(("ddp", "zero1", "zero2", "fsdp", "hsdp"), ("none", "selective", "full")))
    rows = np.tile(np.arange(len(divided)), len(ways))
    texts = {
        name: np.repeat(np.array([way[position] for way in ways], dtype=object), len(divided))
        for position, name in enumerate(("sharding", "recompute"))
    }
    # Pipelines are searched with plain or optimizer-sharded replicas only, and those alone have nothing to share out.
    piped = divided.columns["pipeline_parallel"][rows] > 1
    runs = np.isin(texts["sharding"].astype(str), ["ddp", "zero1"]) | ~piped
    alone = ~divided.replicated[rows]
    texts["sharding"] = np.where(alone, "none", texts["sharding"]).astype(object)
    table = Table.from_rows([values]).take(np.zeros(len(rows), dtype=np.int64))
    offload = np.full(len(rows), "none", dtype=object)
    table = table.replace(**{name: column[rows] for name, column in divided.columns.items()}, **texts, offload=offload)
    inputs = prepare(table)
    peak = sum(memory_parts(inputs, judge.memory_unknowns).values())
    seconds = log_seconds_per_sample(inputs, judge.coefficients(table))
    least = np.min(seconds[runs & (peak <= HEAD_ROOM * table["memory_gb"])])
    assert best.log_seconds == pytest.approx(least, abs=0.01)


def test_what_is_stated_is_not_searched(catalog: Catalog, forecaster: Forecaster) -> None:
    stated = {"training.tensor_parallel": 4, "training.pipeline_parallel": 16, "training.sharding": "zero1"}
    values, fixed = run_of(catalog, {**GPT3, **stated})
    (candidates,) = search([values], fixed, forecaster.judge, most=100).candidates
    assert len(candidates) > 1
    assert {
        (found.layout["tensor_parallel"], found.layout["pipeline_parallel"], found.layout["sharding"])
        for found in candidates
    } == {(4.0, 16.0, "zero1")}


def chosen(catalog: Catalog, forecaster: Forecaster, **stated: object) -> dict[str, Any]:
    """The values of a run as the estimate of these words takes them."""
    flat = {name.replace("__", "."): value for name, value in stated.items()}
    return dict(resolve(flat, catalog, judge=forecaster.judge).values)


def test_degrees_may_count_the_cores_of_a_chip(catalog: Catalog, forecaster: Forecaster) -> None:
    run: dict[str, Any] = {"model__name": "llama-2-7b", "hardware__accelerator": "trn1.32xlarge", "hardware__count": 32}
    assert chosen(catalog, forecaster, **run, training__tensor_parallel=32)["data_parallel"] == 2.0
    cores = chosen(catalog, forecaster, **run, training__tensor_parallel=8, training__data_parallel=8)
    assert (cores["tensor_parallel"], cores["data_parallel"]) == (8.0, 8.0)
    with pytest.raises(Unresolvable, match="data_parallel"):
        chosen(catalog, forecaster, **run, training__tensor_parallel=8, training__data_parallel=16)


def test_cores_share_the_memory_of_their_chip(catalog: Catalog, forecaster: Forecaster) -> None:
    run: dict[str, Any] = {"model__name": "llama-2-7b", "hardware__accelerator": "TPU-v3", "hardware__count": 64}
    run |= {"training__tensor_parallel": 1, "training__sharding": "zero1", "training__micro_batch": 1}
    held = [
        forecaster.predict(
            Table.from_rows([chosen(catalog, forecaster, **run, training__data_parallel=data)])
        ).memory_parts["weights"][0]
        for data in (64, 128)
    ]
    assert held[1] == pytest.approx(2 * held[0]), "a copy on each of two cores"


def test_accumulation_alone_leaves_the_micro_batch_to_what_fits(catalog: Catalog, forecaster: Forecaster) -> None:
    run: dict[str, Any] = {"model__name": "llama-3-8b", "hardware__accelerator": "H100-SXM5-80GB", "hardware__count": 8}
    found = chosen(catalog, forecaster, **run, data__sequence_length=8192, training__gradient_accumulation=4)
    assert found["gradient_accumulation"] == 4
    assert found["global_batch"] == 4 * found["micro_batch"] * found["data_parallel"]
    assert forecaster.predict(Table.from_rows([found])).fits[0]


def test_who_states_plain_replicas_of_a_framework_without_stages_gets_them(
    catalog: Catalog, forecaster: Forecaster
) -> None:
    run: dict[str, Any] = {"model__name": "llama-2-7b", "hardware__accelerator": "H100-SXM5-80GB", "hardware__count": 8}
    run |= {"training__global_batch": 64, "software__framework": "pytorch"}
    for sharding in ("ddp", "zero3", "fsdp"):
        found = chosen(catalog, forecaster, **run, training__sharding=sharding)
        assert (found["data_parallel"], found["tensor_parallel"], found["pipeline_parallel"]) == (8.0, 1.0, 1.0)


def test_a_batch_that_replicas_hardly_notice_not_to_divide_is_no_reason_for_a_pipeline(
    catalog: Catalog, forecaster: Forecaster
) -> None:
    run: dict[str, Any] = {"model__name": "bert-large", "hardware__accelerator": "V100-SXM2-32GB", "hardware__count": 8}
    odd = chosen(catalog, forecaster, **run, data__sequence_length=32, training__global_batch=2621)
    assert (odd["data_parallel"], odd["pipeline_parallel"], odd["tensor_parallel"]) == (8.0, 1.0, 1.0)


def test_what_is_left_open_of_a_stated_layout_is_what_its_runners_do(catalog: Catalog, forecaster: Forecaster) -> None:
    run: dict[str, Any] = {"model__name": "gpt-3-175b", "hardware__accelerator": "A100-SXM4-80GB"}
    piped = chosen(
        catalog, forecaster, **run, hardware__count=256, training__tensor_parallel=8, training__pipeline_parallel=8,
        training__micro_batch=2,
    )  # fmt: skip
    assert piped["global_batch"] / (piped["data_parallel"] * 2) > 8, "a pipeline that is filled"
    gathered = chosen(
        catalog, forecaster, **run, hardware__count=1024, training__sharding="fsdp", training__tensor_parallel=1,
        training__micro_batch=1,
    )  # fmt: skip
    assert (gathered["pipeline_parallel"], gathered["data_parallel"]) == (1.0, 1024.0)


def test_who_states_a_micro_batch_has_tried_it(catalog: Catalog, forecaster: Forecaster) -> None:
    run: dict[str, Any] = {"model__name": "llama-2-7b", "hardware__accelerator": "A100-SXM4-80GB", "hardware__count": 8}
    run |= {"training__tensor_parallel": 1, "training__pipeline_parallel": 1, "training__sharding": "fsdp"}
    run |= {"data__sequence_length": 4096, "training__global_batch": 96}
    tried = {micro: chosen(catalog, forecaster, **run, training__micro_batch=micro) for micro in (1, 2, 3, 4, 6, 12)}
    kept = [micro for micro, values in tried.items() if values["recompute"] == "none"]
    most = forecaster.predict(Table.from_rows([tried[kept[-1]]])).memory_gb.p50[0]
    assert HEAD_ROOM * 80 < most < 80


def test_runs_searched_together_are_searched_alike(catalog: Catalog, forecaster: Forecaster) -> None:
    several = [run_of(catalog, {**GPT3, "hardware.count": count}) for count in (8, 64, 256, 1024)]
    values, stated = [run for run, _ in several], several[0][1]
    together = search(values, stated, forecaster.judge).candidates
    alone = [search([run], stated, forecaster.judge).candidates[0] for run in values]
    assert [[found.layout for found in run] for run in together] == [[found.layout for found in run] for run in alone]
    assert [run[0].fits for run in together] == [False, False, True, True]


def test_a_shape_that_somebody_made_up_is_searched_to_an_end(catalog: Catalog, forecaster: Forecaster) -> None:
    shape = {"model.layers": 1e20, "model.attention_heads": 1e20, "model.hidden_size": 4096, "model.experts": 1e20}
    flat = {**GPT3, **shape, "model.family": "moe", "model.experts_per_token": 2, "hardware.count": 64}
    del flat["model.name"]
    values, stated = run_of(catalog, flat)
    found = search([values], stated, forecaster.judge)
    assert found.considered < 1e6
    assert not found.candidates[0][0].fits


def test_of_layouts_that_hardly_differ_in_memory_the_quickest_is_told(catalog: Catalog, forecaster: Forecaster) -> None:
    """An interleaved pipeline keeps a tenth more than one that is not, and waits for an eighth as long."""
    stated = {"training.pipeline_parallel": 16, "training.tensor_parallel": 2, "training.recompute": "none"}
    values, fixed = run_of(catalog, {**GPT3, **stated, "hardware.count": 256, "training.global_batch": 128})
    ((found,),) = search([values], fixed, forecaster.judge).candidates
    assert not found.fits
    assert float(found.layout["virtual_pipeline"]) > 1
