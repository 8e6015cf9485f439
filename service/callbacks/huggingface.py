"""Measures a `transformers.Trainer`.

Trainer(..., callbacks=[TraincastCallback(url=URL, key=KEY, submit=True, data={"name": "c4"})])
"""

from typing import Any, Unpack

import transformers
from transformers import TrainerCallback

from service.callbacks import modules, surroundings
from service.callbacks.harmless import harmless
from service.callbacks.report import Reporter, Reporting
from service.callbacks.steady import WARM_UP_STEPS, WINDOW_STEPS, ThroughputMeter

_ADAMW = ("adamw_torch", "adamw_hf", "adamw_apex", "adamw_torch_npu")


class TraincastCallback(TrainerCallback):
    """Times the optimizer steps of a run and reports them when it ends, from the first process."""

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
        self._batches = _Batches()

    @property
    def measurement(self) -> dict[str, Any] | None:
        """The measurement, once training is over; None if there is none."""
        return self.reporter.measurement

    @harmless
    def on_train_begin(self, args: Any, state: Any, control: Any, **now: Any) -> None:
        """Looks at the model and the arguments."""
        self.kind = "cpu" if args.use_cpu else surroundings.device_kind()
        self._meter.start(surroundings.synchroniser(self.kind))
        module = now["model"]
        self._seen = _seen(args, module)
        # A compiled model would be compiled again for the hook.
        if not args.torch_compile:
            self._batches.watch(module)

    @harmless
    def on_step_end(self, args: Any, state: Any, control: Any, **now: Any) -> None:
        """One optimizer step more."""
        micro_batches, stated = args.gradient_accumulation_steps, args.train_batch_size
        samples, tokens = self._batches.taken(micro_batches * stated)
        replicas = _replicas(args)
        self._meter.step(samples * replicas, tokens * replicas if tokens else None)

    @harmless
    def on_epoch_end(self, args: Any, state: Any, control: Any, **now: Any) -> None:
        """A loader starts anew."""
        self._meter.interrupt()

    @harmless
    def on_evaluate(self, args: Any, state: Any, control: Any, **now: Any) -> None:
        """An evaluation took place."""
        self._meter.interrupt()

    @harmless
    def on_save(self, args: Any, state: Any, control: Any, **now: Any) -> None:
        """A checkpoint was written."""
        self._meter.interrupt()

    @harmless
    def on_train_end(self, args: Any, state: Any, control: Any, **now: Any) -> None:
        """Reports."""
        self._batches.leave()
        if not state.is_world_process_zero:
            return
        replicas = _replicas(args)
        batch = args.train_batch_size * args.gradient_accumulation_steps * replicas
        seen = {**self._seen, "data": self._batches.data_fields()}
        seen["training"] = {**seen["training"], "global_batch": batch}
        self.reporter.report(seen, self._meter.steady(), self.kind)


class _Batches:
    """Sees the batches that a module takes in: Trainer shows them to no callback."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shapes: list[modules.BatchShape] = []
        self._image_size: int | None = None

    def watch(self, module: Any) -> None:
        def look(module: Any, arguments: Any, named: Any) -> None:
            shape = modules.batch_shape(named or arguments) if module.training else None
            if shape is not None:
                self._shapes.append(shape)

        self._handle = module.register_forward_pre_hook(look, with_kwargs=True)

    def leave(self) -> None:
        if self._handle is not None:
            self._handle.remove()

    def taken(self, stated: int) -> tuple[int, int | None]:
        """Samples and tokens of this process since the last call; samples as stated where rows are not samples.

        Args:
            stated: Samples that the arguments say a step takes.
        """
        shapes, self._shapes = self._shapes, []
        self._image_size = next((shape.image_size for shape in shapes), None) or self._image_size
        rows = sum(shape.samples for shape in shapes)
        # One row a pass is many texts in one; more rows than samples are pairs (DPO). Fewer are an epoch's last ones.
        samples = stated if rows == len(shapes) else min(rows, stated)
        counted = [shape.tokens for shape in shapes if shape.tokens is not None]
        return samples, sum(counted) if counted else None

    def data_fields(self) -> dict[str, object]:
        return {"image_size": self._image_size}


def _seen(args: Any, module: Any) -> dict[str, dict[str, object]]:
    """The configuration as arguments and model tell it."""
    sharding = _sharding(args)
    sharded = sharding in ("zero3", "fsdp")
    weights = modules.weight_precision(module)
    training: dict[str, object] = {
        **modules.mode_fields(module, sharded=sharded),
        "optimizer": _optimizer(str(getattr(args.optim, "value", args.optim))),
        "precision": "bf16" if args.bf16 else "fp16" if args.fp16 else _full_precision(args, weights),
        "weight_precision": weights,
        "micro_batch": args.per_device_train_batch_size,
        "gradient_accumulation": args.gradient_accumulation_steps,
        "data_parallel": _replicas(args) * max(1, args.n_gpu),
        "sharding": sharding,
        "variable_update": "single_process" if args.n_gpu > 1 else None,
        "recompute": "full" if args.gradient_checkpointing else "none",
    }
    software: dict[str, object] = {
        "framework": "transformers",
        "framework_version": transformers.__version__,
        "attention": modules.attention(module),
        "compile": bool(args.torch_compile),
    }
    seen = {"model": modules.model_fields(module, sharded=sharded), "training": training, "software": software}
    if args.n_gpu > 1:
        seen["hardware"] = {"count": args.n_gpu, "per_node": args.n_gpu}
    return seen


def _replicas(args: Any) -> int:
    """Processes that take in batches of their own."""
    split = getattr(args, "parallelism_config", None)
    shared = 1
    for name in ("tp_size", "cp_size", "sp_size"):
        shared *= int(getattr(split, name, 1) or 1)
    return max(1, int(args.world_size) // shared)


def _sharding(args: Any) -> str:
    plugin = getattr(args, "deepspeed_plugin", None)
    if getattr(args, "deepspeed", None) and plugin is not None:
        return f"zero{plugin.zero_stage}" if plugin.zero_stage else "ddp"
    if getattr(args, "fsdp", None):
        return "fsdp"
    return "ddp" if args.world_size > 1 else "none"


def _full_precision(args: Any, weights: str | None) -> str | None:
    torch = surroundings.loaded_torch()
    if weights == "fp32" and not args.use_cpu and torch is not None and torch.backends.cuda.matmul.allow_tf32:
        return "tf32"
    return weights


def _optimizer(name: str) -> str:
    return "adamw" if name.startswith(_ADAMW) else name
