"""What a planned configuration says of its model that can't be true together.

Measured rows are taken as they are; estimates are refused with the field at fault and what would work, or told what
they take for granted.
"""

from collections.abc import Mapping

from service.catalog.resolution import Flat, Values, number, stated_number
from service.engine.layout import Flaw

# (part, whole): a part that is larger than its whole. Both in counts.
_PARTS = (
    ("kv_heads", "attention_heads", "several query heads share one key-value head, never the reverse"),
    ("active_parameters", "parameters", "active parameters are those of all that one token uses"),
    ("experts_per_token", "experts", "a token can't go to more experts than there are"),
    ("dense_layers", "layers", "dense layers are those of all that have no experts"),
    ("attention_layers", "layers", "they are those of all layers that attend"),
    ("windowed_layers", "layers", "they are those of all layers that a window limits"),
)

# Their positions are numbered, by tables or rotations that were trained so far; those of encoder-decoders like T5 are
# relative.
_NUMBERED_FAMILIES = ("encoder", "decoder", "moe")


def contradictions(flat: Flat, values: Values) -> list[Flaw]:
    """Every contradiction among the model's counts; empty if there is none.

    Args:
        flat: what was stated, by dotted name.
        values: the resolved model.
    """
    return [
        Flaw(
            _at_fault(flat, part, whole),
            f"{part} is {number(values, part):g}, but {whole} only {number(values, whole):g}: {why}",
            f"give a model.{part} of at most {number(values, whole):g}, or a larger model.{whole}",
        )
        for part, whole, why in _PARTS
        if number(values, part) > number(values, whole) > 0
    ]


def beyond_positions(flat: Flat, values: Values, known: float) -> list[str]:
    """What to beware of where samples are longer than the model has positions, of which `known` are in the catalog."""
    positions, length = stated_number(flat, "model.max_sequence_length"), stated_number(flat, "data.sequence_length")
    positions = positions if positions > 0 else known
    if values["family"] not in _NUMBERED_FAMILIES or not length > positions > 0:
        return []
    return [
        f"data.sequence_length {length:g} is beyond the {positions:g} positions of {values['model'] or 'the model'}: "
        "it is reckoned as if the model had been given more"
    ]


def _at_fault(flat: Mapping[str, object], part: str, whole: str) -> str:
    """The stated field that brings the contradiction in: the part, else the whole, else where both were read."""
    stated = next((name for name in (part, whole) if flat.get(f"model.{name}") is not None), None)
    if stated is not None:
        return f"model.{stated}"
    return "model.huggingface_config" if flat.get("model.huggingface_config") else "model.name"
