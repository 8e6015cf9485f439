"""What a planned configuration says of its model that can't be true together.

Measured rows are taken as they are; estimates are refused with the field at fault and what would work.
"""

from collections.abc import Mapping

from service.catalog.resolution import Flat, Values, number
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


def _at_fault(flat: Mapping[str, object], part: str, whole: str) -> str:
    """The stated field that brings the contradiction in: the part, else the whole, else where both were read."""
    stated = next((name for name in (part, whole) if flat.get(f"model.{name}") is not None), None)
    if stated is not None:
        return f"model.{stated}"
    return "model.huggingface_config" if flat.get("model.huggingface_config") else "model.name"
