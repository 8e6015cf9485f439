"""Steady-state throughput of a loop: windows of steps, without the first ones, told apart by their median."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WARM_UP_STEPS = 10
"""Steps that are not measured: kernels are chosen, graphs compiled and caches filled in them. Judgement."""
WINDOW_STEPS = 10
"""Steps between two looks at the clock. Judgement: waiting for the accelerator each step would slow it down, and
without waiting a step's time is that of queueing it."""
FEWEST_WINDOWS = 3
"""Windows without which there is no spread to speak of. Judgement."""
NORMAL_CONSISTENCY = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution: 1 / (quantile of 3/4); Rousseeuw and
Croux, Alternatives to the Median Absolute Deviation (JASA 88, 1993), section 1."""


@dataclass(frozen=True, slots=True)
class Steady:
    """What a loop does when nothing interrupts it."""

    samples_per_second: float
    """Median over windows."""
    spread: float
    """Standard deviation over median, robustly, of the windows' samples per second (a fraction)."""
    samples_per_step: float
    """Mean."""
    tokens_per_sample: float | None
    """Mean; None where tokens were not counted."""
    step_seconds: float
    """Median."""
    windows: int
    steps: int


class ThroughputMeter:
    """Told of each step's end, tells the steady throughput."""

    def __init__(
        self,
        *,
        warm_up_steps: int = WARM_UP_STEPS,
        window_steps: int = WINDOW_STEPS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            warm_up_steps: Steps that are not measured.
            window_steps: Steps of a window.
            clock: Seconds since some moment.

        Raises:
            ValueError: A window without steps, or a negative warm-up.
        """
        if window_steps < 1 or warm_up_steps < 0:
            raise ValueError("window_steps must be at least 1 and warm_up_steps at least 0")
        self.warm_up_steps = warm_up_steps
        self.window_steps = window_steps
        self._clock = clock
        self.start()

    def start(self, synchronise: Callable[[], None] | None = None) -> None:
        """A run begins; what was measured of another is forgotten.

        Args:
            synchronise: Waits until the accelerator has done what it was given; called at each end of a window.
        """
        self._synchronise = synchronise
        self._seen = 0
        self._started: float | None = None
        self._open: list[tuple[float, float | None]] = []
        self._windows: list[tuple[float, list[tuple[float, float | None]]]] = []

    def step(self, samples: float, tokens: float | None = None) -> None:
        """An optimizer step has ended, in which the whole job took in so many samples, and tokens where counted."""
        self._seen += 1
        if self._started is None:
            # A window starts at a step's end, so that it holds whole periods: loading, computing, updating.
            if self._seen >= self.warm_up_steps:
                self._started = self._now()
            return
        self._open.append((samples, tokens))
        if len(self._open) == self.window_steps:
            now = self._now()
            self._windows.append((now - self._started, self._open))
            self._started, self._open = now, []

    def interrupt(self) -> None:
        """Something else than training took place since the last step (evaluation, a checkpoint): forget the window."""
        self._started, self._open = None, []

    def steady(self) -> Steady | None:
        """What was measured so far; None if it is too little: fewer than `FEWEST_WINDOWS` windows."""
        if len(self._windows) < FEWEST_WINDOWS:
            return None
        rates = [sum(samples for samples, _ in steps) / seconds for seconds, steps in self._windows]
        steps = [step for _, window in self._windows for step in window]
        samples = sum(taken for taken, _ in steps)
        counted = [tokens for _, tokens in steps if tokens is not None]
        return Steady(
            samples_per_second=statistics.median(rates),
            spread=relative_spread(rates),
            samples_per_step=samples / len(steps),
            tokens_per_sample=sum(counted) / samples if len(counted) == len(steps) else None,
            step_seconds=statistics.median(seconds / len(window) for seconds, window in self._windows),
            windows=len(self._windows),
            steps=len(steps),
        )

    def _now(self) -> float:
        if self._synchronise is not None:
            self._synchronise()
        return self._clock()


def relative_spread(values: Sequence[float]) -> float:
    """Standard deviation over median of positive values, from the median absolute deviation: one outlier is none."""
    middle = statistics.median(values)
    return NORMAL_CONSISTENCY * statistics.median(abs(value - middle) for value in values) / middle
