"""The global batch: throughput rises with it, samples to the same loss rise beyond the critical one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.engine.critical_batch import (
    CRITICAL_IMAGES_OF_IMAGENET,
    CRITICAL_TOKENS_AT_ONE_NAT,
    LOSS_EXPONENT,
    critical_batch_tokens,
    samples_ratio,
)
from service.estimates.schemas import Estimate
from service.levers.learning import learned
from service.levers.schemas import Basis, BatchCurve, BatchPoint
from service.levers.trials import NO_AMOUNT, Situation, Trial, Unsuited, plain

FACTORS = tuple(2.0**power for power in range(-3, 5))
TRADE_OFF_LARGER = "more samples for the same loss; learning rate and warm-up to be set anew"
TRADE_OFF_SMALLER = "more steps, each with fewer samples for every accelerator; learning rate to be set anew"


@dataclass(frozen=True)
class Critical:
    """A critical batch size in samples, and where it comes from."""

    batch: float
    basis: Basis
    assumed: str


def critical_batch(situation: Situation) -> Critical | Unsuited:
    """The caller's, else a published one of such a model; or why none is known."""
    given = situation.assume.critical_batch
    if not situation.samples_to_train > 0:
        return Unsuited("global-batch", NO_AMOUNT)
    if given is not None:
        return Critical(given, "caller", "assume.critical_batch")
    if situation.text("model") == "resnet-50" and situation.dataset == "imagenet-1k":
        return Critical(
            CRITICAL_IMAGES_OF_IMAGENET,
            "published",
            "15,000 images of ImageNet for ResNet-50, mean over training (McCandlish et al. 2018, arXiv 1812.06162, "
            "table 1)",
        )
    if situation.text("family") != "decoder" or situation.text("mode") != "pretrain":
        why = "no critical batch size of such a run is published: give assume.critical_batch"
        return Unsuited("global-batch", why)
    now = learned(situation)
    if isinstance(now, str):
        return Unsuited("global-batch", f"the critical batch size is unknown: {now}; give assume.critical_batch")
    tokens = float(critical_batch_tokens(now.loss))
    return Critical(
        tokens / situation.number("sequence_length"),
        "scaling_law",
        f"{tokens:.3g} tokens at a loss of {now.loss:.3f} by {now.law.name}: {CRITICAL_TOKENS_AT_ONE_NAT:g} / "
        f"L^(1 / {LOSS_EXPONENT:g}) (Kaplan et al. 2020, arXiv 2001.08361, section 5.1, fitted on WebText2); "
        "S = S_min (1 + B_crit / B), E = E_min (1 + B / B_crit) (McCandlish et al. 2018, arXiv 1812.06162, eq. 2.11)",
    )


@dataclass(frozen=True)
class Batch:
    """A global batch to try, and the samples that reach the same loss with it."""

    size: float
    samples: float
    trial: Trial


def batches(situation: Situation, critical: Critical) -> list[Batch]:
    """The present batch, its halves and its doubles."""
    now = situation.number("global_batch")
    found = []
    for size in (now * factor for factor in FACTORS):
        if size < 1.0 or size != round(size):
            continue
        samples = situation.samples_to_train * float(samples_ratio(size, now, critical.batch))
        change = {
            **situation.released("training.gradient_accumulation"),
            "training.global_batch": plain(size),
            **situation.amount(samples=samples),
        }
        trade_off = TRADE_OFF_LARGER if size > now else TRADE_OFF_SMALLER
        trial = Trial(f"global-batch-{size:g}", "batch", change, trade_off, critical.basis, critical.assumed)
        found.append(Batch(size, samples, trial))
    return found


def curve(critical: Critical, tried: Sequence[tuple[Batch, Estimate]]) -> BatchCurve | None:
    """Time against global batch, of what was tried; None where nothing of it fits."""
    points = [
        BatchPoint(
            global_batch=batch.size,
            samples_per_second=estimate.throughput.samples_per_second,
            samples=float(f"{batch.samples:.6g}"),
            steps=float(f"{batch.samples / batch.size:.6g}"),
            duration_hours=estimate.duration_hours,
            fits=estimate.memory.fits,
        )
        for batch, estimate in tried
        if estimate.duration_hours is not None
    ]
    fitting = [point for point in points if point.fits]
    if not fitting:
        return None
    return BatchCurve(
        critical_batch=float(f"{critical.batch:.4g}"),
        basis=critical.basis,
        assumed=critical.assumed,
        best_global_batch=min(fitting, key=lambda point: point.duration_hours.p50).global_batch,
        points=points,
    )
