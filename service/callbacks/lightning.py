"""Measures a Lightning `Trainer`.

Trainer(..., callbacks=[TraincastCallback(url=URL, key=KEY, submit=True, model="resnet-50")])
"""

from typing import Any, Unpack

import lightning
from lightning.pytorch.callbacks import Callback

from service.callbacks import modules, surroundings
from service.callbacks.harmless import harmless
from service.callbacks.report import Reporter, Reporting
from service.callbacks.steady import WARM_UP_STEPS, WINDOW_STEPS, ThroughputMeter

# What Lightning's precision says: number format of the products, of the weights (None: as the module has them).
_PRECISIONS = {
    "32-true": ("fp32", "fp32"), "16-mixed": ("fp16", None), "bf16-mixed": ("bf16", None), "16-true": ("fp16", "fp16"),
    "bf16-true": ("bf16", "bf16"), "transformer-engine": ("fp8", "bf16"), "transformer-engine-float16": ("fp8", "fp16"),
}  # fmt: skip


class TraincastCallback(Callback):
    """Times the optimizer steps of a fit and reports them when it ends, from the first process."""

    def __init__(
        self, *, warm_up_steps: int = WARM_UP_STEPS, window_steps: int = WINDOW_STEPS, **reporting: Unpack[Reporting]
    ) -> None:
        """
        Args:
            warm_up_steps: First steps, which are not measured.
            window_steps: Steps between two looks at the clock, for which the accelerator is waited for.
            reporting: As `Reporting`.

        Raises:
            TypeError, ValueError: Unknown option, or a window without steps.
        """
        self.reporter = Reporter(reporting)
        self.kind = "cpu"
        self._meter = ThroughputMeter(warm_up_steps=warm_up_steps, window_steps=window_steps)
        self._seen: dict[str, dict[str, object]] = {}
        self._taken: list[modules.BatchShape] = []
        self._last_step = 0

    @property
    def measurement(self) -> dict[str, Any] | None:
        """The measurement, once the fit is over; None if there is none."""
        return self.reporter.measurement

    @harmless
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Looks at the module and the trainer."""
        device = str(pl_module.device.type)
        self.kind = device if device in ("cuda", "xpu", "mps") else "cpu"
        self._meter.start(surroundings.synchroniser(self.kind))
        self._last_step = trainer.global_step
        self._seen = _seen(trainer, pl_module)

    @harmless
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """One micro-batch more, and a step where the optimizer made one."""
        shape = modules.batch_shape(batch)
        if shape is not None:
            self._taken.append(shape)
        if trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        taken, self._taken = self._taken, []
        if not taken:
            return
        replicas = trainer.world_size
        tokens = [shape.tokens for shape in taken if shape.tokens is not None]
        self._meter.step(sum(shape.samples for shape in taken) * replicas, sum(tokens) * replicas if tokens else None)
        micro_batch = max(shape.samples for shape in taken)
        self._seen["training"] |= {"micro_batch": micro_batch, "gradient_accumulation": len(taken)}
        self._seen["data"] = {"image_size": taken[0].image_size}

    @harmless
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """An evaluation took place."""
        self._meter.interrupt()

    @harmless
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A checkpoint is written."""
        self._meter.interrupt()

    @harmless
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """A loader starts anew."""
        self._meter.interrupt()
        self._taken = []

    @harmless
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Reports."""
        if trainer.is_global_zero:
            self.reporter.report(self._seen, self._meter.steady(), self.kind)


def _seen(trainer: Any, module: Any) -> dict[str, dict[str, object]]:
    """The configuration as trainer and module tell it."""
    sharding = _sharding(trainer)
    sharded = sharding in ("zero3", "fsdp")
    precision, weights = _PRECISIONS.get(str(trainer.precision), (None, None))
    recomputes = modules.recomputes(module)
    training: dict[str, object] = {
        **modules.mode_fields(module, sharded=sharded),
        "precision": precision,
        "weight_precision": weights or modules.weight_precision(module),
        "data_parallel": trainer.world_size,
        "sharding": sharding,
        "recompute": None if recomputes is None else "full" if recomputes else "none",
        "optimizer": modules.optimizer_name(trainer.optimizers[0]) if trainer.optimizers else None,
    }
    software: dict[str, object] = {
        "framework": "pytorch-lightning",
        "framework_version": lightning.__version__,
        "attention": modules.attention(module),
    }
    seen = {"model": modules.model_fields(module, sharded=sharded), "training": training, "software": software}
    if trainer.world_size > 1 and str(module.device.type) != "cpu":
        seen["hardware"] = {"count": trainer.world_size, "per_node": trainer.world_size // trainer.num_nodes}
    return seen


def _sharding(trainer: Any) -> str:
    strategy = type(trainer.strategy).__name__
    if "DeepSpeed" in strategy:
        stage = trainer.strategy.config.get("zero_optimization", {}).get("stage", 0)
        return f"zero{stage}" if stage else "ddp"
    if "FSDP" in strategy:
        return "fsdp"
    return "ddp" if trainer.world_size > 1 else "none"
