"""Trains a workload for a while and times it."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from service.bench.models import batch_of, build
from service.bench.workloads import Workload
from service.callbacks import surroundings
from service.callbacks.steady import FEWEST_WINDOWS, Steady, ThroughputMeter

LEAST_WARM_UP_STEPS = 2
"""Steps before anything is timed, however slow: kernels are chosen, memory is taken, graphs are compiled."""
WARM_UP_SHARE = 0.25
"""Of the time for a run, what further warming up takes: clocks settle in seconds. Judgement."""
WINDOWS = 20
"""Repeats, where time allows. Judgement: enough for a median and its deviation."""

ATTENTION = {
    "sdpa": None,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
"""Attention kernels; `sdpa` lets PyTorch choose."""
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Variant:
    """How a workload is trained."""

    precision: str
    """fp32, tf32, bf16 or fp16; the last two as automatic mixed precision."""
    compiled: bool = False
    attention: str = "sdpa"
    batch: int | None = None
    """Samples of a step; on a GPU the largest power of two that fits if None."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A run as it was timed."""

    steady: Steady
    batch: int
    parameters: int
    peak_memory_gb: float | None


def time_training(
    workload: Workload, variant: Variant, kind: str, seconds: float, progress: Callable[[float], None]
) -> Timed:
    """Trains for about so long and times the steady part.

    Args:
        workload: What to train.
        variant: How.
        kind: On what, one of `surroundings.device_kind`.
        seconds: How long; exceeded where the least number of steps takes longer.
        progress: Told how much is done, 0 to 1.

    Raises:
        RuntimeError: It does not fit, or the device lacks what the variant asks for; PyTorch says what.
    """
    if kind == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = variant.precision == "tf32"
    batch = variant.batch or (workload.batch if kind == "cpu" else _largest_batch(workload, variant, kind))
    _forget(kind)
    with _kernel(variant.attention):
        run = Run(workload, variant, kind, batch)
        began = time.perf_counter()
        synchronise = surroundings.synchroniser(kind) or (lambda: None)
        steps, step_seconds = 0, math.inf
        while steps < LEAST_WARM_UP_STEPS or time.perf_counter() - began < seconds * WARM_UP_SHARE:
            started = time.perf_counter()
            run.step()
            synchronise()
            step_seconds = time.perf_counter() - started
            steps += 1
        left = seconds - (time.perf_counter() - began)
        window_steps = max(1, int(left / WINDOWS / step_seconds))
        meter = ThroughputMeter(warm_up_steps=0, window_steps=window_steps)
        meter.start(synchronise)
        meter.step(batch)  # the end of the last step, at which the first window starts
        least, most = FEWEST_WINDOWS * window_steps, WINDOWS * window_steps
        for step in range(most):
            if step >= least and time.perf_counter() - began > seconds:
                break
            run.step()
            meter.step(batch, batch * workload.sequence_length if workload.sequence_length else None)
            progress(min(1.0, (time.perf_counter() - began) / seconds))
    steady = meter.steady()
    assert steady is not None, "the loop makes that many windows"
    parameters = sum(part.numel() for part in run.module.parameters())
    return Timed(steady, batch, parameters, surroundings.peak_memory_gb(kind))


class Run:
    """A model, its optimizer and one batch, which it is fed again and again."""

    def __init__(self, workload: Workload, variant: Variant, kind: str, batch: int) -> None:
        self.module = build(workload, kind)
        self.batch = batch_of(workload, batch, kind)
        if workload.family == "cnn":
            # What tensor cores and oneDNN take without reordering.
            self.module = self.module.to(memory_format=torch.channels_last)
            self.batch = (self.batch[0].contiguous(memory_format=torch.channels_last), self.batch[1])
        weights = self.module.parameters()
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.AdamW(weights, lr=1e-4, fused=kind == "cuda")
            if workload.optimizer == "adamw"
            else torch.optim.SGD(weights, lr=1e-3, momentum=0.9)
        )
        self.forward: Any = torch.compile(self.module) if variant.compiled else self.module
        number_format = _AUTOCAST.get(variant.precision)
        self.autocast = torch.autocast(kind, dtype=number_format, enabled=number_format is not None)
        self.scaler = torch.amp.GradScaler(kind, enabled=variant.precision == "fp16")

    def step(self) -> None:
        """Forward, backward and the optimizer's step."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            loss = self.forward(*self.batch)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


def _largest_batch(workload: Workload, variant: Variant, kind: str) -> int:
    """The largest power of two that trains without running out of memory, up to the workload's largest."""
    fits = 0
    size = 1
    while size <= workload.largest_batch:
        _forget(kind)
        try:
            with _kernel(variant.attention):
                # Not compiled: compiling each size would take minutes, and takes no more memory than this.
                run = Run(workload, Variant(variant.precision, attention=variant.attention), kind, size)
                run.step()
                run.step()
        except torch.OutOfMemoryError:
            break
        fits, size = size, size * 2
    if not fits:
        raise RuntimeError(f"{workload.name} does not fit in memory: take a smaller one")
    return fits


@contextlib.contextmanager
def _kernel(attention: str) -> Iterator[None]:
    backend = ATTENTION[attention]
    with sdpa_kernel(backend) if backend is not None else contextlib.nullcontext():
        yield


def _forget(kind: str) -> None:
    """Gives back what earlier runs took, and counts the peak anew."""
    if kind == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif kind == "mps":
        torch.mps.empty_cache()
