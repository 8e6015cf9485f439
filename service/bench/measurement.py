"""A timed run as a row of the vocabulary."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from service.bench.workloads import Workload
from service.callbacks.steady import Steady
from service.configuration import Measurement

SOURCE = "traincast-bench"
"""Where such rows say that they are from."""


def row(
    workload: Workload,
    *,
    accelerator: str,
    batch: int,
    precision: str,
    compiled: bool,
    attention: str,
    parameters: int,
    steady: Steady,
    peak_memory_gb: float | None,
    versions: Mapping[str, str],
    command: str,
    despite: Sequence[str] = (),
) -> dict[str, object]:
    """Dotted columns of one measurement, as `traincast import` takes them.

    Args:
        workload: What was trained.
        accelerator: On what: the catalog's slug, or what the machine calls it.
        batch: Samples of a step.
        precision: fp32, tf32, bf16 or fp16.
        compiled: Whether by `torch.compile`.
        attention: The kernel asked for.
        parameters: Weights of the model.
        steady: What was timed.
        peak_memory_gb: Peak memory of the chip, GB.
        versions: Of PyTorch, driver, ..., by name.
        command: The command line that measures it again.
        despite: Why it is doubtful.

    Raises:
        pydantic.ValidationError: It is no measurement.
    """
    told = [
        f"{command}; median of {steady.windows} repeats of {steady.steps // steady.windows} steps, "
        f"spread {steady.spread:.1%} (1.4826 MAD / median)",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        *(f"forced although {reason}" for reason in despite),
    ]
    fields = {
        **workload.fields(),
        "model.parameters": parameters,
        "hardware.accelerator": accelerator,
        "hardware.count": 1,
        "hardware.per_node": 1,
        "training.mode": "pretrain",
        "training.precision": precision,
        "training.weight_precision": "fp32",
        "training.global_batch": batch,
        "training.micro_batch": batch,
        "training.gradient_accumulation": 1,
        "training.sharding": "none",
        "training.recompute": "none",
        "software.framework": "pytorch",
        "software.framework_version": versions.get("PyTorch"),
        "software.compile": compiled,
        # What the memory-efficient kernel is called has no name in the vocabulary but PyTorch's own choice.
        "software.attention": {"flash": "flash2", "efficient": "sdpa"}.get(attention, attention)
        if workload.is_transformer
        else None,
        "software.memory_format": "channels_last" if workload.family == "cnn" else None,
        "provenance.source": SOURCE,
        "provenance.measured_on": datetime.now(UTC).date().isoformat(),
        "provenance.evidence": "log",
        "provenance.notes": "; ".join(text for text in told if text),
        "result.value": steady.samples_per_second,
        "result.unit": "samples_per_second",
        "result.basis": "steps",
        "result.peak_memory_gb": peak_memory_gb,
    }
    return Measurement.from_flat({name: value for name, value in fields.items() if value is not None}).flat()
