"""Starting from a trained model instead of from nothing, and training less of it."""

from __future__ import annotations

from service.levers.schemas import Basis
from service.levers.trials import NO_AMOUNT, Change, Situation, Trial, Unsuited, Wanted

# Networks that start from ImageNet's weights reach the accuracy of random starts in a seventeenth of the steps: 1,151
# against 19,531, mean over 16 networks and 12 data sets (Kornblith et al. 2019, arXiv 1805.08974, section 4.6).
IMAGE_STEPS_SHARE = 1151.0 / 19531.0
IMAGE_SOURCE = (
    "a seventeenth of the steps from scratch (1,151 against 19,531, mean over 16 networks and 12 data sets, Kornblith "
    "et al. 2019, arXiv 1805.08974, section 4.6); give assume.finetune_samples"
)
# What is usual for following instructions, and not a finding: the 52,000 examples of Alpaca (Taori et al. 2023), three
# epochs. Judgement.
INSTRUCTIONS, INSTRUCTION_EPOCHS = 52_000.0, 3.0
TEXT_SOURCE = (
    "52,000 examples, three times over, suffice for the task (illustration: the size of Alpaca, Taori et al. 2023); "
    "give assume.finetune_tokens or assume.finetune_samples"
)
IMAGE_FAMILIES = ("cnn", "vit", "detection", "segmentation")
TRADE_OFFS = {
    "finetune": "needs a trained model of a near task; what it learned first stays in it",
    "frozen": "only the last layers adapt: worse where the task is far from what the backbone saw",
    "lora": "low-rank changes of the weights: may learn less than full fine-tuning where there is much to learn",
    "qlora": "as LoRA, on 4-bit weights: the least memory, and time to unpack them at every pass",
}
MODES = tuple(TRADE_OFFS)


def transfer(situation: Situation) -> Wanted:
    """Full fine-tuning, a frozen backbone, LoRA and QLoRA: instead of pre-training, or of full fine-tuning."""
    mode = situation.text("mode")
    modes = [name for name in MODES if situation.is_language or name in ("finetune", "frozen")]
    if mode == "pretrain":
        yield from _instead_of_scratch(situation, modes)
    elif mode == "finetune":
        for name in modes[1:]:
            yield Trial(
                f"{name}-instead-of-full-fine-tuning",
                "transfer",
                _to(situation, name),
                TRADE_OFFS[name],
                "assumption",
                "the same amount of data suffices",
            )


def _instead_of_scratch(situation: Situation, modes: list[str]) -> Wanted:
    amount = _amount(situation)
    if isinstance(amount, Unsuited):
        yield amount
        return
    basis, assumed, change = amount
    for name in modes:
        yield Trial(
            f"{name}-instead-of-scratch",
            "transfer",
            {**_to(situation, name), **change},
            TRADE_OFFS[name],
            basis,
            assumed,
        )


def _to(situation: Situation, mode: str) -> Change:
    """The change of mode; what is stated of weights that learn is not of the new mode."""
    return {"training.mode": mode, **situation.released("training.trainable_parameters")}


def _amount(situation: Situation) -> Unsuited | tuple[Basis, str, Change]:
    """How much fine-tuning takes: the caller's word, a published share, or an illustration."""
    assume = situation.assume
    if not situation.samples_to_train > 0:
        return Unsuited("transfer-learning", NO_AMOUNT)
    if assume.finetune_tokens is not None:
        if not situation.number("sequence_length") > 0:
            why = "assume.finetune_tokens: samples are no sequences here; give assume.finetune_samples"
            return Unsuited("transfer-learning", why)
        return "caller", "assume.finetune_tokens", situation.amount(tokens=assume.finetune_tokens)
    if assume.finetune_samples is not None:
        return "caller", "assume.finetune_samples", situation.amount(samples=assume.finetune_samples)
    if situation.text("family") in IMAGE_FAMILIES:
        samples = situation.samples_to_train * IMAGE_STEPS_SHARE
        return "published", IMAGE_SOURCE, situation.amount(samples=samples)
    if situation.is_language:
        return "assumption", TEXT_SOURCE, situation.amount(samples=INSTRUCTIONS * INSTRUCTION_EPOCHS)
    return Unsuited("transfer-learning", "how much data would suffice is not known: give assume.finetune_samples")
