"""Choices of the recipe: optimizer, repeats side by side, augmentation, self-supervised pre-training."""

from __future__ import annotations

from service.levers.transfer import IMAGE_FAMILIES, IMAGE_STEPS_SHARE
from service.levers.trials import NO_AMOUNT, Situation, Trial, Unsuited, Wanted, plain

OPTIMIZERS = {
    "adamw": "two states for every weight",
    "sgd": "one state for every weight; needs more tuning, and rarely trains Transformers as well",
    "adafactor": "second moments by row and column only: little memory, less stable without tuning",
    "lion": "one state for every weight; other learning rate and weight decay",
    "muon": "one state for every weight, matrices made orthogonal at every step; other optimizers for the rest",
    "adam8bit": "states in 8 bits: little memory, and quantisation at every step",
}


def optimizers(situation: Situation) -> Wanted:
    """Other optimizers: their memory and their work; fewer steps only on the caller's word."""
    mode, now = situation.text("mode"), situation.text("optimizer")
    if mode == "fwd_bwd":
        return
    fewer = situation.assume.optimizer_steps
    for name in dict.fromkeys([*OPTIMIZERS, *fewer]):
        share = fewer.get(name)
        if name == now:
            if share is not None:
                yield Unsuited(f"optimizer-{name}", "it is the run's own: assume.optimizer_steps are over its steps")
            continue
        if share is not None and not situation.samples_to_train > 0:
            yield Unsuited(f"optimizer-{name}", NO_AMOUNT)
            continue
        yield Trial(
            f"optimizer-{name}",
            "recipe",
            {
                "training.optimizer": name,
                **({} if share is None else situation.amount(samples=situation.samples_to_train * share)),
            },
            OPTIMIZERS.get(name, "as the caller knows"),
            "forecast" if share is None else "caller",
            f"as many steps as {now}; what is known of its steps goes into assume.optimizer_steps"
            if share is None
            else f"assume.optimizer_steps: {share:g} of the steps of {now}",
        )


def side_by_side(situation: Situation) -> Wanted:
    """Repeats (folds, seeds, trials) at once, each on its share of the machines, instead of one after another."""
    runs, count = situation.request.runs, situation.number("count")
    if runs == 1:
        return
    at_once = next((many for many in range(runs, 1, -1) if runs % many == 0 and count % many == 0), 1)
    if at_once == 1:
        yield Unsuited("runs-side-by-side", f"{runs} runs do not share {count:g} accelerators evenly")
        return
    yield Trial(
        "runs-side-by-side",
        "recipe",
        {
            "runs": runs // at_once,
            "hardware.count": plain(count / at_once),
            **situation.same_batch(),
            **situation.released("training.data_parallel", "training.gradient_accumulation", "hardware.nodes"),
        },
        f"{at_once} runs at once with {count / at_once:g} accelerators each: nothing is known before all are done",
        at_once=at_once,
    )


def augmentation(situation: Situation) -> Wanted:
    """Stronger augmentation, which is trained on for longer."""
    epochs = situation.assume.augmented_epochs
    if epochs is None:
        return
    if not situation.stated.keys() & {"data.samples", "data.name"}:
        yield Unsuited("augmentation", "how much one epoch is, is not known: give data.samples or data.name")
        return
    share = situation.baseline.breakdown.get("input", 0.0) / situation.baseline.step_seconds.p50
    yield Trial(
        "augmentation",
        "recipe",
        {"data.epochs": epochs, **situation.released("data.tokens")},
        "more epochs, for a better model",
        "caller",
        "assume.augmented_epochs; preparing a sample costs what it costs now, when waiting for input is "
        f"{share:.0%} of a step",
    )


def self_supervised(situation: Situation) -> Wanted:
    """Pre-training without labels, then fine-tuning, against training from scratch."""
    pretraining, name = situation.assume.pretraining_samples, "self-supervised-pretraining"
    if pretraining is None:
        return
    if situation.text("mode") != "pretrain" or not situation.samples_to_train > 0:
        yield Unsuited(name, "it is compared with training from scratch on a stated amount of data")
        return
    finetuning, source = situation.assume.finetune_samples, "assume.finetune_samples"
    length = situation.number("sequence_length")
    if finetuning is None and situation.assume.finetune_tokens is not None and length > 0:
        finetuning, source = situation.assume.finetune_tokens / length, "assume.finetune_tokens"
    if finetuning is None and situation.text("family") in IMAGE_FAMILIES:
        finetuning, source = situation.samples_to_train * IMAGE_STEPS_SHARE, "a seventeenth of training from scratch"
    if finetuning is None:
        yield Unsuited(name, "how much fine-tuning follows is not known: give assume.finetune_samples")
        return
    yield Trial(
        name,
        "recipe",
        situation.amount(samples=pretraining + finetuning),
        "needs no labels for most of the data; the pre-training serves other tasks too",
        "caller",
        f"assume.pretraining_samples, then {finetuning:.4g} samples of fine-tuning ({source}); a sample costs the same "
        "in both",
    )
