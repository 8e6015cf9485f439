"""How much to train on, where a request names the loss to reach: tokens, and if need be the size, by a scaling law."""

from __future__ import annotations

from collections.abc import Mapping

from service.catalog.resolution import Assumption, Resolved, Unresolvable
from service.engine.layout import Flaw
from service.engine.operations import work
from service.engine.scaling_laws import (
    LAWS,
    MOST_PARAMETERS,
    MOST_TOKENS,
    PARAMETERS_TRIED,
    TOKENS_TRIED,
    OutsideLawError,
    ScalingLaw,
    check_range,
    least_compute,
    loss,
    losses_within,
    tokens_interval,
)
from service.engine.table import Table
from service.estimates.schemas import EstimateRequest

# What a model may say of itself and still leave its size to the law.
SIZELESS = frozenset({"family", "vocab_size", "tied_embeddings"})
AMOUNTS = ("data.tokens", "data.samples", "data.epochs")
RANGE = (
    f"the law holds from {PARAMETERS_TRIED[0]:g} to {MOST_PARAMETERS:g} parameters and from {TOKENS_TRIED[0]:g} to "
    f"{MOST_TOKENS:g} tokens"
)


def leaves_size_open(request: EstimateRequest) -> bool:
    """Whether the size of the model is the law's to say: a decoder of which nothing else is stated."""
    stated = request.model.stated()
    return request.target_loss is not None and stated.get("family") == "decoder" and stated.keys() <= SIZELESS


def sized(request: EstimateRequest, flat: Mapping[str, object]) -> Mapping[str, object]:
    """The configuration with the parameters that reach the target with the fewest FLOPs, where it leaves them open."""
    if request.target_loss is None or not leaves_size_open(request):
        return flat
    parameters, _ = least_compute(LAWS[request.scaling_law], request.target_loss)
    # At the bounds of the law, so that a loss out of reach is refused for what it is, and not for an infinite model.
    bounded = min(max(float(parameters), PARAMETERS_TRIED[0]), MOST_PARAMETERS)
    return {**flat, "model.parameters": float(f"{bounded:.4g}")}


def aim(request: EstimateRequest, resolution: Resolved) -> None:
    """Replaces the amount of data by what the target loss takes, and says so; does nothing where there is no target.

    Raises:
        Unresolvable: The law does not speak of such a run, or of such a loss.
    """
    target = request.target_loss
    if target is None:
        return
    law = LAWS[request.scaling_law]
    _check_kind(request, resolution)
    counted = work(Table.from_rows([resolution.values]))
    parameters = float(counted.parameters[0])
    if not counted.known[0]:
        raise _refused(
            "a loss is reached by models of a known size, and this one's is not known",
            'give model.parameters, or {"family": "decoder"} alone for the size that needs the least compute',
        )
    interval = tokens_interval(law, parameters, target)
    tokens = float(interval.p50[0])
    try:
        tried = check_range(parameters, tokens)
    except OutsideLawError as error:
        raise _outside(law, parameters, target, error, size_is_open=leaves_size_open(request)) from None
    offered = resolution.tokens_to_train
    length = float(resolution.values["sequence_length"])
    resolution.tokens_to_train, resolution.samples_to_train = tokens, tokens / length
    resolution.amount_factor = float(interval.p90[0]) / tokens
    resolution.assumptions[:] = [made for made in resolution.assumptions if made.field not in AMOUNTS]
    if leaves_size_open(request):
        why = f"reaches a loss of {target:g} with the least compute by {law.name}"
        resolution.assumptions.append(Assumption("model.parameters", parameters, why))
    resolution.assumptions.append(
        Assumption(
            "data.tokens",
            float(f"{tokens:.6g}"),
            f"a loss of {target:g} at {parameters:.4g} parameters takes {tokens:.3g} tokens ({interval.p10[0]:.3g} to "
            f"{interval.p90[0]:.3g}) by {law.name} ({law.source}), losses on its own text and tokenizer; {RANGE}",
        )
    )
    if not tried:
        resolution.warnings.append(
            f"target_loss: beyond the experiments of the law ({PARAMETERS_TRIED[1]:g} parameters, {TOKENS_TRIED[1]:g} "
            f"tokens); one model was checked as far out, of {MOST_PARAMETERS:g} parameters and {MOST_TOKENS:g} tokens."
        )
    if offered < tokens:
        resolution.warnings.append(
            f"target_loss: {request.data.name} has {offered:.3g} of the {tokens:.3g} tokens; the law counts tokens "
            "that are seen once, and repeated ones teach less."
        )


def _check_kind(request: EstimateRequest, resolution: Resolved) -> None:
    family, mode = str(resolution.values["family"]), str(resolution.values["mode"])
    if family != "decoder":
        raise _refused(
            f"scaling laws of the loss are known of dense decoders, and this model's family is {family}",
            "leave target_loss out and give data.tokens or data.samples",
        )
    if mode != "pretrain":
        raise _refused(
            f"the law is of training from scratch, and training.mode is {mode}",
            "leave target_loss out and give data.tokens or data.samples",
        )
    stated = request.configuration()
    if given := [name for name in AMOUNTS if name in stated]:
        raise _refused(
            f"the law says how much to train on, and so does {given[0]}", f"leave target_loss or {given[0]} out"
        )


def _outside(
    law: ScalingLaw, parameters: float, target: float, error: OutsideLawError, *, size_is_open: bool
) -> Unresolvable:
    if error.quantity == "parameters":
        return _refused(f"{error}, where {law.name} was fitted or checked", RANGE)
    if size_is_open:
        least = float(loss(law, MOST_PARAMETERS, MOST_TOKENS))
        most = float(loss(law, PARAMETERS_TRIED[0], TOKENS_TRIED[0]))
        return _refused(f"a loss of {target:g} is outside {least:.3g} to {most:.3g}, what {law.name} reaches", RANGE)
    least, most = losses_within(law, parameters)
    return _refused(
        f"a loss of {target:g} is outside {least:.3g} to {most:.3g}, what models of {parameters:.4g} parameters reach "
        f"by {law.name}",
        f"{RANGE}; for another loss take another size",
    )


def _refused(message: str, hint: str) -> Unresolvable:
    return Unresolvable([Flaw("target_loss", message, hint)])
