"""Where a run stands on a scaling law: the loss that its parameters and tokens reach."""

from __future__ import annotations

from dataclasses import dataclass

from service.engine.operations import work
from service.engine.scaling_laws import LAWS, OutsideLawError, ScalingLaw, check_range, loss
from service.levers.trials import Situation


@dataclass(frozen=True)
class Learned:
    """A decoder trained from scratch: the law, parameters, tokens, and the loss in nats a token that they reach."""

    law: ScalingLaw
    parameters: float
    tokens: float
    loss: float


def learned(situation: Situation) -> Learned | str:
    """What the run reaches by the law that the request names, or why the law says nothing of it."""
    law = LAWS[situation.request.scaling_law]
    if situation.text("family") != "decoder" or situation.text("mode") != "pretrain":
        return f"{law.name} speaks of dense decoders trained from scratch"
    tokens = situation.samples_to_train * situation.number("sequence_length")
    if not tokens > 0 or "data.epochs" in situation.stated:
        return f"{law.name} needs a number of tokens, each seen once"
    parameters = float(work(situation.row).parameters[0])
    try:
        check_range(parameters, tokens)
    except OutsideLawError as error:
        return f"{law.name}: {error}"
    return Learned(law, parameters, tokens, float(loss(law, parameters, tokens)))
