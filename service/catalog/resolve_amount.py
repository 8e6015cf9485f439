"""How much a configuration trains on."""

from __future__ import annotations

import math

from service.catalog.catalog import Catalog, Dataset
from service.catalog.resolution import Assumption, Flat, Resolved, Values, number, stated_number
from service.engine.operations import TRANSFORMER_FAMILIES

IMAGE_FAMILIES = frozenset({"cnn", "vit", "detection", "segmentation", "diffusion"})
SAME_AMOUNT = 0.05  # judgement: tokens and samples that differ by less say the same, for lengths are means


def add_amount(flat: Flat, catalog: Catalog, resolved: Resolved) -> None:
    """How much is to be trained on: samples (all epochs), tokens, or NaN where nobody says."""
    values = resolved.values
    epochs = stated_number(flat, "data.epochs")
    epochs = epochs if epochs > 0 else 1.0
    tokens, samples = stated_number(flat, "data.tokens"), stated_number(flat, "data.samples")
    length = number(values, "sequence_length")
    name = flat.get("data.name")
    dataset = catalog.dataset(str(name)) if name else None
    if dataset is not None and not tokens > 0 and not samples > 0:
        counts_tokens = values["family"] in ("decoder", "moe") and dataset.tokens > 0
        tokens = dataset.tokens if counts_tokens or not dataset.samples > 0 else math.nan
        samples = math.nan if tokens > 0 else dataset.samples
        amount, unit = (tokens, "tokens") if tokens > 0 else (samples, dataset.unit or "samples")
        if amount > 0:
            resolved.assumptions.append(
                Assumption(
                    "data.tokens" if tokens > 0 else "data.samples", amount, f"{dataset.name}: {amount:g} {unit}"
                )
            )
    if name and dataset is None:
        near = catalog.suggest("datasets", str(name))
        resolved.warnings.append(
            f"data.name {str(name)!r} is not in the catalog"
            + (f"; did you mean {', '.join(near[:3])}?" if near else "")
        )
    if dataset is not None and (doubt := _mismatch(dataset, values, catalog)):
        resolved.warnings.append(doubt)
    if tokens > 0 and not length > 0:
        why = "is trained on images" if number(values, "image_size") > 0 else "has samples of no known length in tokens"
        counted = f"{tokens:g} tokens are given, and {values['model'] or 'the model'} {why}"
        if samples > 0:
            resolved.warnings.append(f"{counted}: data.tokens is left out of account beside data.samples")
        else:
            resolved.uncounted = counted
    if tokens > 0 and length > 0:
        if samples > 0 and not math.isclose(samples * length, tokens, rel_tol=SAME_AMOUNT):
            resolved.warnings.append(
                f"data.tokens and data.samples disagree, and data.samples is left out of account: {tokens:g} tokens "
                f"are {tokens / length:.6g} samples of {length:g}, not {samples:g}; leave one of them out"
            )
        resolved.tokens_to_train = tokens * epochs
        resolved.samples_to_train = tokens * epochs / length
    elif samples > 0:
        resolved.samples_to_train = samples * epochs
        resolved.tokens_to_train = samples * epochs * length if length > 0 else math.nan


def _mismatch(dataset: Dataset, values: Values, catalog: Catalog) -> str | None:
    """That texts are given to a model of images, or images to one of texts, as far as the catalog tells."""
    model, family = str(values["model"]), str(values["family"])
    if model not in catalog.models:
        return None
    if dataset.unit == "image" and family in TRANSFORMER_FAMILIES and not number(values, "image_size") > 0:
        kinds = ("images", f"of texts: each image counts as one of {number(values, 'sequence_length'):g} tokens")
    elif (dataset.unit == "document" or "tokens" in dataset.typical_sample) and family in IMAGE_FAMILIES:
        kinds = ("texts", "of images")
    else:
        return None
    return f"data.name {dataset.name} is of {kinds[0]}, and {model} is reckoned as a model {kinds[1]}; are both meant?"
