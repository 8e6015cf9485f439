"""Less data that teaches as much, and a smaller model that learns as much."""

from __future__ import annotations

from service.configuration import CONFIGURATION_FIELDS
from service.engine.scaling_laws import (
    MOST_PARAMETERS,
    MOST_TOKENS,
    PARAMETERS_TRIED,
    TOKENS_TRIED,
    equal_loss_tokens,
    least_compute,
)
from service.levers.learning import learned
from service.levers.trials import NO_AMOUNT, Situation, Trial, Unsuited, Wanted

# Tokens of C4 in passages of 50 and more that occur elsewhere too: 7.18 % (Lee et al. 2021, arXiv 2107.06499, table 3).
C4_KEPT = 1.0 - 0.0718
DEDUPLICATED = (
    "what is left after taking out C4's repeated passages (7.18 % of its tokens, Lee et al. 2021, arXiv 2107.06499, "
    "table 3) teaches as much as all; an illustration: give assume.kept_fraction"
)
# Judgement: a change of size that is worth proposing.
WORTHWHILE = 0.9


def better_data(situation: Situation) -> Wanted:
    """De-duplication and filtering: fewer samples for the same result."""
    kept = situation.assume.kept_fraction
    if kept is None and situation.text("mode") != "pretrain":
        return
    if not situation.samples_to_train > 0:
        yield Unsuited("better-data", NO_AMOUNT)
        return
    if kept is None and not situation.is_language:
        yield Unsuited("better-data", "how much of the data could go is not known: give assume.kept_fraction")
        return
    share = C4_KEPT if kept is None else kept
    yield Trial(
        "better-data",
        "data",
        situation.amount(samples=situation.samples_to_train * share),
        "the data have to be filtered first; what is filtered out is not learned",
        "assumption" if kept is None else "caller",
        DEDUPLICATED if kept is None else f"assume.kept_fraction: {share:g} of the data teach as much as all",
    )


def smaller_model(situation: Situation) -> Wanted:
    """A smaller model, trained on more tokens, with the same loss: the one that takes the least compute."""
    now = learned(situation)
    if isinstance(now, str):
        if situation.text("family") == "decoder" and situation.text("mode") == "pretrain":
            yield Unsuited("smaller-model", now)
        return
    law = now.law
    smaller = max(float(least_compute(law, now.loss)[0]), PARAMETERS_TRIED[0])
    needed = equal_loss_tokens(law, now.parameters, now.tokens, smaller)
    if smaller > WORTHWHILE * now.parameters:
        yield Unsuited("smaller-model", f"{law.name}: no smaller model reaches its loss with less compute")
        return
    if needed.p50[0] > MOST_TOKENS:
        why = f"{law.name}: it would take {needed.p50[0]:.3g} tokens, and the law was checked up to {MOST_TOKENS:g}"
        yield Unsuited("smaller-model", why)
        return
    shape = situation.released(*(field for field in CONFIGURATION_FIELDS if field.startswith("model.")))
    yield Trial(
        "smaller-model",
        "model",
        {
            **situation.same_batch(),
            **situation.amount(tokens=float(needed.p50[0])),
            **shape,
            "model.family": "decoder",
            "model.parameters": float(f"{smaller:.4g}"),
        },
        f"{needed.p50[0] / now.tokens:.2g} times the tokens, which have to exist; cheaper to run, too",
        "scaling_law",
        f"a loss of {now.loss:.3f} by {law.name} ({law.source}), on its own text; fitted on {PARAMETERS_TRIED[0]:g} to "
        f"{PARAMETERS_TRIED[1]:g} parameters and {TOKENS_TRIED[0]:g} to {TOKENS_TRIED[1]:g} tokens, checked once at "
        f"{MOST_PARAMETERS:g} and {MOST_TOKENS:g}",
        amount_factor=float(needed.p90[0] / needed.p50[0]),
    )
