"""Larger micro-batches, less recomputation, lighter sharding, no offload, and the layout that search finds."""

from __future__ import annotations

from service.engine.replicas import SHARDS_WEIGHTS
from service.estimates.remedies import LAYOUT
from service.levers.trials import Situation, Trial, Wanted, plain

LESS_RECOMPUTE = {"full": ("selective", "none"), "selective": ("none",)}
MEMORY = "more memory on every accelerator"


def micro_batch(situation: Situation) -> Wanted:
    """A stated micro-batch doubled and quadrupled; one that was left out is the quickest already."""
    if "training.micro_batch" not in situation.stated:
        return
    share = situation.number("global_batch") / situation.number("data_parallel")
    for factor in (2, 4):
        larger = situation.number("micro_batch") * factor
        if larger <= share:
            yield Trial(
                f"micro-batch-{larger:g}",
                "layout",
                {
                    "training.micro_batch": plain(larger),
                    **situation.same_batch(),
                    **situation.released("training.gradient_accumulation"),
                },
                f"{MEMORY}; with a pipeline, a larger bubble",
                is_free=True,
            )


def recompute(situation: Situation) -> Wanted:
    """Activations kept instead of computed again."""
    for policy in LESS_RECOMPUTE.get(situation.text("recompute"), ()):
        yield Trial(
            f"recompute-{policy}", "layout", {"training.recompute": policy}, f"{MEMORY} for activations", is_free=True
        )


def sharding(situation: Situation) -> Wanted:
    """Optimizer states sharded over the replicas instead of kept on the host; weights whole instead of gathered."""
    offload = situation.text("offload")
    if offload in ("cpu", "nvme"):
        yield Trial("no-offload", "layout", {"training.offload": "none"}, MEMORY, is_free=True)
        for kind in ("zero1", "zero3"):
            if situation.text("sharding") != kind and situation.number("count") > 1:
                yield Trial(
                    f"{kind}-instead-of-offload",
                    "layout",
                    {"training.offload": "none", "training.sharding": kind},
                    f"{MEMORY} than on the host, and traffic between replicas",
                    is_free=True,
                )
    elif situation.text("sharding") in SHARDS_WEIGHTS:
        yield Trial("zero1", "layout", {"training.sharding": "zero1"}, f"{MEMORY} for whole weights", is_free=True)


def searched_layout(situation: Situation) -> Wanted:
    """The layout that is chosen where none is stated."""
    if released := situation.released(*LAYOUT):
        yield Trial(
            "layout-search",
            "layout",
            {**situation.same_batch(), **released},
            "another split of the work to set up and to check",
            is_free=True,
        )
