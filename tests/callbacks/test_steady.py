"""Steady-state throughput from the ends of steps, told by a clock of our own."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.callbacks.steady import ThroughputMeter, relative_spread


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def measured(steps: Iterable[float], *, warm_up_steps: int = 2, window_steps: int = 4) -> ThroughputMeter:
    """A meter that saw steps of so many seconds, each of 32 samples."""
    clock = Clock()
    meter = ThroughputMeter(warm_up_steps=warm_up_steps, window_steps=window_steps, clock=clock)
    for seconds in steps:
        clock.now += seconds
        meter.step(32, 32 * 128)
    return meter


def test_slow_first_steps_do_not_count() -> None:
    steady = measured([60.0, 5.0] + [0.5] * 12).steady()
    assert steady is not None
    assert steady.samples_per_second == pytest.approx(64)
    assert steady.step_seconds == pytest.approx(0.5)
    assert (steady.windows, steady.steps) == (3, 12)
    assert steady.tokens_per_sample == 128


def test_one_hiccup_changes_neither_speed_nor_spread() -> None:
    steady = measured([0.5] * 9 + [30.0] + [0.5] * 30).steady()
    assert steady is not None
    assert steady.samples_per_second == pytest.approx(64)
    assert steady.spread == pytest.approx(0)


def test_an_unsteady_loop_shows_in_the_spread() -> None:
    steady = measured(itertools.chain.from_iterable([0.1 * (1 + window % 3)] * 4 for window in range(12))).steady()
    assert steady is not None
    assert steady.spread > 0.25


def test_what_interrupts_training_is_left_out() -> None:
    clock = Clock()
    meter = ThroughputMeter(warm_up_steps=0, window_steps=2, clock=clock)
    for step in range(20):
        clock.now += 0.5
        meter.step(32)
        if step % 5 == 4:
            clock.now += 100.0
            meter.interrupt()
    steady = meter.steady()
    assert steady is not None
    assert steady.samples_per_second == pytest.approx(64)
    assert steady.tokens_per_sample is None


def test_too_few_steps_are_no_measurement() -> None:
    assert measured([0.5] * 13).steady() is None
    assert measured([0.5] * 14).steady() is not None


@given(st.lists(st.floats(0.1, 10), min_size=3, max_size=30), st.floats(0.01, 100))
def test_spread_has_no_unit(values: list[float], scale: float) -> None:
    assert relative_spread([value * scale for value in values]) == pytest.approx(relative_spread(values), abs=1e-9)
