"""Measures a plain training loop."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, Unpack

from service.callbacks import modules, surroundings
from service.callbacks.harmless import harmless
from service.callbacks.report import Reporter, Reporting
from service.callbacks.steady import WARM_UP_STEPS, WINDOW_STEPS, Steady, ThroughputMeter


class TrainingTimer:
    """A context manager around a loop that tells it of each step's end.

    Where several processes train, each may have one; the first one reports. A loop that ends in an exception is not
    reported.
    """

    def __init__(
        self,
        *,
        module: Any = None,
        optimizer: Any = None,
        warm_up_steps: int = WARM_UP_STEPS,
        window_steps: int = WINDOW_STEPS,
        clock: Callable[[], float] = time.perf_counter,
        **reporting: Unpack[Reporting],
    ) -> None:
        """
        Args:
            module: The `torch.nn.Module` that is trained, to take the configuration from; else state `model`.
            optimizer: Its optimizer, for its name.
            warm_up_steps: First steps, which are not measured.
            window_steps: Steps between two looks at the clock, for which the accelerator is waited for.
            clock: Seconds since some moment.
            reporting: As `Reporting`.

        Raises:
            TypeError, ValueError: Unknown option, or a window without steps.
        """
        self.kind = surroundings.device_kind()
        self.meter = ThroughputMeter(warm_up_steps=warm_up_steps, window_steps=window_steps, clock=clock)
        self.reporter = Reporter(reporting)
        self._module, self._optimizer = module, optimizer

    @property
    def measurement(self) -> dict[str, Any] | None:
        """The measurement, once the loop is over; None if there is none."""
        return self.reporter.measurement

    @property
    def steady(self) -> Steady | None:
        """What was timed so far; None if it is too little."""
        return self.meter.steady()

    @harmless
    def step(self, samples: float, tokens: float | None = None) -> None:
        """An optimizer step has ended.

        Args:
            samples: Samples that it took in, over all processes.
            tokens: Tokens of them, padding included, where there are any.
        """
        self.meter.step(samples, tokens)

    @harmless
    def interrupt(self) -> None:
        """Something else than training took place since the last step, e.g. evaluation."""
        self.meter.interrupt()

    def __enter__(self) -> Self:
        self.meter.start(surroundings.synchroniser(self.kind))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and surroundings.is_first_process():
            self._report()

    @harmless
    def _report(self) -> None:
        seen: dict[str, dict[str, object]] = {"model": {}, "training": {}, "software": {}}
        if self._module is not None:
            # A wrapper (DistributedDataParallel) holds what is trained.
            module = getattr(self._module, "module", self._module)
            seen["model"] = modules.model_fields(module, sharded=False)
            seen["training"] = modules.mode_fields(module, sharded=False)
            seen["training"] |= {"weight_precision": modules.weight_precision(module)}
            seen["software"] = {"attention": modules.attention(module)}
        if self._optimizer is not None:
            seen["training"]["optimizer"] = modules.optimizer_name(self._optimizer)
        self.reporter.report(seen, self.meter.steady(), self.kind)
