"""In which numbers a chip computes: what is usual on it, and what stands in for those that it has no units for."""

from service.catalog.catalog import Accelerator
from service.catalog.resolution import or_zero
from service.engine.operations import TRANSFORMER_FAMILIES

# The likeliest first. CUDA converts bf16 to fp32 where it is not native (CUDA Math API, bfloat16 intrinsics, before
# compute capability 8.0), so that fp16 units are of no use to it.
STAND_INS = {
    "fp4": ("fp8", "bf16", "fp16", "tf32", "fp32"),
    "fp8": ("bf16", "fp16", "tf32", "fp32"),
    "bf16": ("tf32", "fp32", "fp16"),
    "fp16": ("bf16", "tf32", "fp32"),
    "tf32": ("fp32", "bf16", "fp16"),
    "fp32": ("tf32", "bf16", "fp16"),
}
# FLOP per byte of cards whose data sheet gives no peak at any precision: P100 to T4 span 13 to 200.
TYPICAL_FLOP_PER_BYTE = 20.0


def usual_precision(chip: Accelerator, family: str) -> str:
    """What most train with on a chip: bf16 where it exists, else fp16 where that is faster than fp32, else fp32."""
    if chip.bf16_tflops > 1.5 * or_zero(chip.fp32_tflops):
        return "bf16" if family in TRANSFORMER_FAMILIES or chip.vendor != "nvidia" else "fp16"
    if chip.fp16_tflops > 1.5 * or_zero(chip.fp32_tflops):
        return "fp16"
    return "fp32"


def stand_in(chip: Accelerator, precision: str) -> str | None:
    """The precision whose units compute one that the chip has none for; None where no peak of the chip is known."""
    others = STAND_INS.get(precision, ("fp32",))
    return next((other for other in others if chip.peak_tflops(other) > 0), None)


def stand_in_tflops(chip: Accelerator, precision: str) -> float:
    """Peak TFLOP/s of what stands in for a precision, or what is typical of the chip's memory bandwidth."""
    other = stand_in(chip, precision)
    if other is not None:
        return chip.peak_tflops(other)
    return or_zero(chip.memory_bandwidth_gbs) * TYPICAL_FLOP_PER_BYTE / 1e3 or 10.0
