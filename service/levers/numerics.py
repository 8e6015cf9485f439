"""Fewer bits, better kernels, compilers, and an input pipeline that keeps up."""

from __future__ import annotations

from service.engine.step_inputs import WHOLE_GRAPH_FRAMEWORKS
from service.levers.trials import Situation, Trial, Wanted

# FlashAttention 2 needs Ampere or later (its README), FlashAttention 3 Hopper (Shah et al. 2024, arXiv 2407.08608).
AMPERE_YEAR = 2020.0
FLASH_3_GROUP = "hopper"
CONVOLUTIONAL_FAMILIES = ("cnn", "detection", "segmentation")
TENSOR_CORES_SINCE = 2017.0
# Judgement: an input pipeline that takes less of a step is not worth a lever.
INPUT_SHARE = 0.01

PRECISION_TRADE_OFFS = {
    "tf32": "products keep 10 bits of mantissa; training is rarely seen to suffer",
    "bf16": "8 bits of mantissa in products, master weights in fp32; needs no loss scaling",
    "fp16": "5 bits of exponent: needs loss scaling, and watching for overflow",
    "fp8": "needs scaling recipes and a framework that has them; loss curves have to be watched",
}


def precision(situation: Situation) -> Wanted:
    """tf32, 16 bits and 8 bits, where the chip multiplies faster in them than at present."""
    chip, now = situation.chip, situation.text("precision")
    half = "bf16" if chip.bf16_tflops > 0 else "fp16"
    for name in ("tf32", half, *(("fp8",) if situation.is_language else ())):
        if name != now and chip.peak_tflops(name) > 1.05 * situation.number("peak_tflops"):
            yield Trial(
                f"precision-{name}",
                "precision",
                {"training.precision": name},
                PRECISION_TRADE_OFFS[name],
                is_free=name != "fp8",
            )


def attention(situation: Situation) -> Wanted:
    """Kernels that never write the score matrix, and newer ones of them."""
    if not situation.is_language:
        return
    now, vendor = situation.text("attention"), situation.text("chip_vendor")
    modern = vendor != "nvidia" or situation.number("chip_year") >= AMPERE_YEAR
    wanted = []
    if now == "math":
        wanted.append("flash2" if modern else "sdpa")
    if situation.text("chip_group") == FLASH_3_GROUP and now != "flash3":
        wanted.append("flash3")
    for name in wanted:
        yield Trial(
            f"attention-{name}",
            "software",
            {"software.attention": name},
            "another kernel to install; the same result up to rounding",
            is_free=True,
        )


def compilation(situation: Situation) -> Wanted:
    """A compiled graph, and a step that is replayed as a recorded one."""
    if situation.text("framework") in WHOLE_GRAPH_FRAMEWORKS:
        return
    if situation.number("compile") != 1.0:
        yield Trial(
            "compile",
            "software",
            {"software.compile": True},
            "minutes of compilation at the start and for every new shape",
            is_free=True,
        )
    if situation.text("chip_vendor") == "nvidia" and situation.text("cuda_graphs") != "full":
        yield Trial(
            "cuda-graphs",
            "software",
            {"software.cuda_graphs": "full"},
            "shapes and control flow have to stay the same from step to step; some memory is held twice",
            is_free=True,
        )


def memory_format(situation: Situation) -> Wanted:
    """Channels last, as tensor cores read images."""
    if (
        situation.text("family") in CONVOLUTIONAL_FAMILIES
        and situation.text("chip_vendor") == "nvidia"
        and situation.number("chip_year") >= TENSOR_CORES_SINCE
        and situation.text("precision") in ("fp16", "bf16", "tf32")
        and situation.text("memory_format") != "channels_last"
    ):
        yield Trial(
            "channels-last",
            "software",
            {"software.memory_format": "channels_last"},
            "layers that know only the other order copy their inputs",
            is_free=True,
        )


def input_pipeline(situation: Situation) -> Wanted:
    """What an input pipeline brings that never keeps an accelerator waiting."""
    step = situation.baseline.step_seconds.p50
    if situation.baseline.breakdown.get("input", 0.0) > INPUT_SHARE * step:
        yield Trial(
            "input-that-keeps-up",
            "software",
            {"data.input": "synthetic"},
            "the most that a faster input pipeline brings: more host cores, decoding on the accelerator, or samples "
            "prepared beforehand, which take space and fix the augmentation",
        )
