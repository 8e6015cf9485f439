"""Hours lost, money, energy and carbon: totals are the sums of their parts, and more of anything never costs less."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.calibrations.goodput_check import published_shares
from service.catalog.catalog import load_catalog
from service.engine.distribution import Distribution, exactly, product, quantiles, total
from service.engine.economics import (
    UNEXPLAINED_LOSS,
    Energy,
    GoodputOverrides,
    carbon_kg_co2e,
    cost_usd,
    energy_kwh,
    goodput,
    node_power_of_tdp,
    productive_hours,
    wall_clock_factor,
)
from service.engine.operating_facts import OperatingFacts, read_operating_facts

CATALOG = load_catalog()
TDP = {slug: chip.tdp_w for slug, chip in CATALOG.accelerators.items()}
FACTS: OperatingFacts = read_operating_facts(CATALOG.facts, TDP)

counts = st.floats(1, 32_768)
hours = st.floats(0.01, 5_000)


def h100_energy(accelerator_hours: float, *, networked: bool = False, pue: float = 1.1) -> Energy:
    return energy_kwh(exactly(accelerator_hours), ["H100-SXM5-80GB"], [700.0], [networked], exactly(pue), FACTS)


def ordered(quantity: Distribution) -> bool:
    return bool(np.all(quantity.p10 <= quantity.p50) and np.all(quantity.p50 <= quantity.p90))


def test_every_constant_has_a_source() -> None:
    for name, sources in FACTS.sources.items():
        assert sources, name
        assert all(sources), name


@given(counts, hours)
def test_wall_clock_is_the_sum_of_its_parts(count: float, work: float) -> None:
    run = goodput([count], [work], FACTS)
    assert sum(part[0] for part in run.parts.values()) == pytest.approx(run.wall_hours.p50[0])
    assert all(part[0] >= 0 for part in run.parts.values())
    assert ordered(run.wall_hours)
    assert ordered(run.share)
    assert run.share.p50[0] == pytest.approx(work / run.wall_hours.p50[0])
    assert run.wall_hours.p10[0] >= work


@given(counts, hours, st.floats(1.001, 4))
def test_more_work_and_more_chips_never_finish_sooner_than_the_work_itself(
    count: float, work: float, factor: float
) -> None:
    base = goodput([count], [work], FACTS)
    longer = goodput([count], [work * factor], FACTS)
    wider = goodput([count * factor], [work], FACTS)
    for side in ("p10", "p50", "p90"):
        assert getattr(longer.wall_hours, side)[0] >= getattr(base.wall_hours, side)[0]
    assert wider.share.p50[0] <= base.share.p50[0]
    assert wider.failures[0] >= base.failures[0]


@pytest.mark.parametrize(
    ("accelerators", "days", "published"),
    [
        pytest.param(16_384, 54, 0.90, id="Llama 3 405B, arXiv:2407.21783"),
        pytest.param(10_000, 28, 0.90, id="MegaScale, arXiv:2402.15627"),
        pytest.param(9_600, 90, 0.97, id="ByteRobust, arXiv:2509.16293"),
        pytest.param(1_024, 30, 0.90, id="RSC-1, arXiv:2410.21680"),
    ],
)
def test_goodput_is_near_what_long_runs_published(accelerators: float, days: float, published: float) -> None:
    share = goodput([accelerators], [days * 24 * published], FACTS).share
    assert share.p10[0] - 0.05 <= published <= share.p90[0] + 0.05
    assert abs(share.p50[0] - published) < 0.1


def test_intervals_of_goodput_hold_most_published_runs() -> None:
    published = published_shares(CATALOG)
    assert len(published) == 6
    held = [run["predicted"]["p10"] <= run["reported"] <= run["predicted"]["p90"] for run in published]
    assert sum(held) >= 5
    lost = [np.log((1.0 - run["reported"]) / (1.0 - run["predicted"]["p50"])) for run in published]
    assert np.sqrt(np.mean(np.square(lost))) == pytest.approx(UNEXPLAINED_LOSS, abs=0.01)


def test_failures_and_checkpoints_match_the_first_order_formula() -> None:
    interval, checkpoint, recovery, rate = np.array([1.0]), np.array([0.01]), np.array([0.1]), np.array([1e-3])
    first_order = (1 + checkpoint / interval) / (1 - rate * (recovery + interval / 2))
    assert wall_clock_factor(interval, checkpoint, recovery, rate) == pytest.approx(first_order, rel=1e-3)
    assert wall_clock_factor(interval, checkpoint, recovery, rate * 0) == pytest.approx(1.01)
    assert np.isfinite(wall_clock_factor(interval, checkpoint, recovery, rate * 1e9))


@given(st.floats(0.05, 1.0), counts, hours)
def test_a_stated_share_decides_the_wall_clock(share: float, count: float, work: float) -> None:
    nothing = GoodputOverrides.none(1)
    stated = GoodputOverrides(**{**vars(nothing), "share": np.array([share])})
    run = goodput([count], [work], FACTS, stated)
    assert run.wall_hours.p50[0] == pytest.approx(work / share)
    assert run.share.p10[0] == pytest.approx(share)
    assert run.share.p90[0] == pytest.approx(share)


def test_overrides_take_the_place_of_the_published_record() -> None:
    nothing = GoodputOverrides.none(1)
    stated = {
        "failures_per_accelerator_hour": np.array([0.0]),
        "checkpoint_seconds": np.array([0.0]),
        "evaluation_share": np.array([0.0]),
        "startup_seconds": np.array([0.0]),
        "recovery_seconds": np.array([0.0]),
    }
    run = goodput([4096], [100.0], FACTS, GoodputOverrides(**{**vars(nothing), **stated}))
    assert run.wall_hours.p50[0] == pytest.approx(100.0)
    hourly = GoodputOverrides(**{**vars(nothing), "checkpoint_interval_hours": np.array([8.0])})
    assert goodput([4096], [100.0], FACTS, hourly).checkpoint_interval_hours[0] == 8.0


@given(counts, st.floats(0.5, 5_000))
def test_productive_hours_turn_goodput_round(count: float, work: float) -> None:
    wall = goodput([count], [work], FACTS).wall_hours.p50
    assert productive_hours([count], wall, FACTS)[0] == pytest.approx(work, rel=1e-6)


@given(st.floats(0.1, 1e8), st.booleans(), st.floats(1.0, 2.5))
def test_energy_is_the_sum_of_its_parts(accelerator_hours: float, networked: bool, pue: float) -> None:
    energy = h100_energy(accelerator_hours, networked=networked, pue=pue)
    assert sum(part[0] for part in energy.parts.values()) == pytest.approx(energy.total.p50[0])
    assert all(part[0] >= 0 for part in energy.parts.values())
    assert ordered(energy.total)
    assert (energy.network[0] > 0) == networked


@given(st.floats(0.1, 1e6), st.floats(1.001, 10))
def test_more_hours_never_cheaper(accelerator_hours: float, factor: float) -> None:
    price = Distribution(np.array([1.0]), np.array([2.0]), np.array([5.0]))
    grid = Distribution(np.array([50.0]), np.array([400.0]), np.array([700.0]))
    less, more = exactly(accelerator_hours), exactly(accelerator_hours * factor)
    pairs = [
        (cost_usd(less, price), cost_usd(more, price)),
        (h100_energy(accelerator_hours).total, h100_energy(accelerator_hours * factor).total),
        (
            carbon_kg_co2e(h100_energy(accelerator_hours).total, grid),
            carbon_kg_co2e(h100_energy(accelerator_hours * factor).total, grid),
        ),
    ]
    for small, large in pairs:
        assert ordered(small)
        assert all(getattr(large, side)[0] > getattr(small, side)[0] for side in ("p10", "p50", "p90"))


def test_a_metered_node_is_reproduced() -> None:
    energy = energy_kwh(exactly(1.0), ["H100-SXM5-80GB"], [700.0], [False], exactly(1.0), FACTS)
    assert 750 < energy.total.p50[0] * 1000 < 900
    assert 0.7 < energy.accelerators[0] * 1000 / 700 < 1.0
    metered = energy_kwh(exactly(1.0), ["H100-SXM5-80GB"], [700.0], [False], exactly(1.0), FACTS, [800.0])
    assert metered.total.p10[0] == pytest.approx(0.8)
    assert metered.total.p90[0] == pytest.approx(0.8)


def test_gpt3_energy_is_near_the_published_figure() -> None:
    """1,287 MWh: 10,000 V100 for 14.8 days at PUE 1.1 (arXiv:2104.10350, table 4)."""
    energy = energy_kwh(exactly(10_000 * 14.8 * 24), ["V100-SXM2-32GB"], [300.0], [False], exactly(1.1), FACTS)
    assert energy.total.p50[0] == pytest.approx(1_287_000, rel=0.02)


def test_an_unmetered_chip_has_the_wider_interval() -> None:
    power = node_power_of_tdp(["H100-SXM5-80GB", "MI300X"], FACTS)
    width = power.p90 / power.p10
    assert width[1] > width[0]


def test_unknown_power_makes_energy_unknown() -> None:
    assert np.isnan(energy_kwh(exactly(1.0), ["TPU-v5p"], [np.nan], [False], exactly(1.1), FACTS).total.p50[0])


def test_arithmetic_of_distributions() -> None:
    wide = Distribution(np.array([1.0]), np.array([2.0]), np.array([4.0]))
    assert product(wide, exactly(3.0)).p90[0] == pytest.approx(12.0)
    both = product(wide, wide)
    assert both.p50[0] == pytest.approx(4.0)
    assert both.p90[0] == pytest.approx(4.0 * 2.0 ** np.sqrt(2.0))
    assert total([wide, exactly(1.0)]).p10[0] == pytest.approx(2.0)
    assert wide.inverse().p10[0] == pytest.approx(0.25)
    assert product(wide, exactly(0.0)).p90[0] == 0.0
    assert np.isnan(quantiles([np.nan])[1])
