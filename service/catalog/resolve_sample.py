"""What one sample is: tokens of a text, pixels of a picture, and how they are read."""

from __future__ import annotations

from service.catalog.catalog import Catalog, CatalogModel
from service.catalog.resolution import Assumption, Flat, Values, stated_number

TYPICAL_LENGTH = {"decoder": 2048.0, "moe": 4096.0, "encoder": 512.0, "encoder_decoder": 512.0}

# Judgement: the share of a maximum length that unpacked samples fill, and the mean that no maximum lifts it beyond
# (the set behind the ms-swift rows averages 3,234 tokens).
FILLED_SHARE = 0.6

LONGEST_MEAN = 3000.0

# Judgement: instruction data are short unless packed; the peft-metamathqa rows average 210 tokens.
INSTRUCTION_LENGTH = 256.0

# Mean sentence of WMT16 English-German in sub-words, source and target together: GNMT and its kin count both.
TRANSLATION_LENGTH = 50.0


def usual_pictures(flat: Flat, catalog: Catalog, assumptions: list[Assumption]) -> dict[str, float]:
    """`data.image_size` of a convolutional net that is trained anew on pictures smaller than it expects, if it is.

    Args:
        flat: what is stated of model and data, and as `data.small_image` the side of the named data set's pictures.
        catalog: where the model is known.
        assumptions: to add to.
    """
    small, mode = stated_number(flat, "data.small_image"), str(flat.get("training.mode") or "pretrain")
    entry = catalog.model(str(flat.get("model.name") or ""))
    if stated_number(flat, "data.image_size") > 0 or not small > 0 or mode != "pretrain":
        return {}
    if entry is None or entry.family != "cnn":
        return {}
    assumptions.append(Assumption("data.image_size", small, "pixels a side of the data set's pictures"))
    return {"data.image_size": small}


def resolve_sample(flat: Flat, values: Values, entry: CatalogModel | None, assumptions: list[Assumption]) -> None:
    """Adds to the values of a model what one sample is: its length or size, how it is read and packed.

    Args:
        flat: what is stated of model and data.
        values: the model's.
        entry: the model in the catalog.
        assumptions: to add to.
    """
    length, image = stated_number(flat, "data.sequence_length"), stated_number(flat, "data.image_size")
    family = str(values["family"])
    if not length > 0:
        if family in TYPICAL_LENGTH:
            length = TYPICAL_LENGTH[family]
            if family == "encoder_decoder" and str(values["model"]).startswith("transformer"):
                length = TRANSLATION_LENGTH / 2.0
            if family in ("decoder", "moe") and str(flat.get("training.mode") or "") in (
                "finetune",
                "lora",
                "qlora",
                "frozen",
            ):
                longest = stated_number(flat, "data.maximum_length")
                length = min(FILLED_SHARE * longest, LONGEST_MEAN) if longest > 0 else INSTRUCTION_LENGTH
            if entry is not None and entry.max_sequence_length > 0:
                length = min(entry.max_sequence_length, 2.0 * length if length == 2048.0 else length)
            assumptions.append(
                Assumption("data.sequence_length", length, "usual training length of the model or its family")
            )
        elif entry is not None and entry.sequence_length > 0:
            length = entry.sequence_length
        elif family == "rnn":
            length = TRANSLATION_LENGTH
    if length > 0:
        values["sequence_length"] = length
    values["maximum_length"] = stated_number(flat, "data.maximum_length")
    if not image > 0 and entry is not None and entry.image_size > 0:
        image = entry.image_size
    if image > 0:
        values["image_size"] = image
    values["data_input"] = str(flat.get("data.input") or "")
    values["packing"] = str(flat.get("data.packing") or "")
