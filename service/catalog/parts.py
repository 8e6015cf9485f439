"""A configuration in parts, each resolved once however many rows state it alike.

Rows of a batch, a sweep or a file share most of what they say: the same model, the same machines, the same software.
What a part comes to depends on the fields that are sorted to it here, and on nothing else of the row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from service.catalog.catalog import Catalog
from service.catalog.resolution import Flat, Part, Unresolvable, Values, stated_number
from service.catalog.resolve_hardware import resolve_hardware
from service.catalog.resolve_model import ReadConfig, resolve_work
from service.catalog.resolve_software import resolve_software
from service.catalog.resolve_training import is_trained_with_adam, resolve_training
from service.configuration import CONFIGURATION_FIELDS

MOST_SMALL = 64.0  # pixels a side; larger pictures are scaled to what the model expects
_SQUARE = re.compile(r"(\d+)x\1")
HARDWARE, WORK, TRAINING, SOFTWARE = range(4)
_BY_SECTION = {"hardware": HARDWARE, "model": WORK, "training": TRAINING, "software": SOFTWARE}
_SAMPLE = ("sequence_length", "image_size", "maximum_length", "input", "packing")
_PLACE_OF = {
    name: _BY_SECTION[section] for name in CONFIGURATION_FIELDS if (section := name.partition(".")[0]) in _BY_SECTION
} | {
    **{f"data.{name}": WORK for name in _SAMPLE},
    **{f"provenance.{name}": SOFTWARE for name in ("measured_on", "evidence", "source")},
}


class Parts(NamedTuple):
    """The parts of a configuration but its layout and how much it trains on; equal where all parts are the same."""

    work: Part
    training: Part
    hardware: Part
    software: Part

    def values(self) -> Values:
        """The engine values of all parts, for the caller to add to."""
        return {**self.work.values, **self.training.values, **self.hardware.values, **self.software.values}


def parts_of(flat: Flat, catalog: Catalog, *, measured: bool) -> Parts:
    """The parts of one configuration (dotted names). Raises Unresolvable naming every field at fault."""
    sorted_out: tuple[list[tuple[str, object]], ...] = ([], [], [], [])
    for item in flat.items():
        place = _PLACE_OF.get(item[0])
        if place is not None:
            sorted_out[place].append(item)
    of_work = sorted_out[WORK]
    config = flat.get("model.huggingface_config")
    if isinstance(config, Mapping):
        of_work.remove(("model.huggingface_config", config))
        of_work.append(("model.huggingface_config", ReadConfig.of(config)))
    # How a model of no stated family is read depends on whether its data are counted in tokens, not on how many.
    of_work.append(("data.tokens", stated_number(flat, "data.tokens") > 0))
    is_tuning = not (measured or flat.get("training.mode")) and _is_for_tuning(flat, catalog)
    if is_tuning:
        sorted_out[TRAINING].append(("data.for_tuning", True))
    of_work.append(("training.mode", "finetune" if is_tuning else flat.get("training.mode")))
    of_work.append(("data.small_image", _small_image(flat, catalog)))
    hardware = resolve_hardware(catalog, tuple(sorted_out[HARDWARE]), measured)
    if not hardware.values:
        raise Unresolvable(hardware.flaws)
    slug = str(hardware.values["accelerator"])
    work = resolve_work(catalog, tuple(of_work), measured)
    family, model = str(work.values["family"]), str(work.values["model"])
    adam = is_trained_with_adam(family, model, measured=measured)
    training = resolve_training(catalog, tuple(sorted_out[TRAINING]), slug, family, adam, measured)
    software = resolve_software(catalog, tuple(sorted_out[SOFTWARE]), slug, family, measured)
    if hardware.flaws or work.flaws or training.flaws or software.flaws:
        raise Unresolvable([*hardware.flaws, *work.flaws, *training.flaws, *software.flaws])
    return Parts(work, training, hardware, software)


def _small_image(flat: Flat, catalog: Catalog) -> float | None:
    """Pixels a side of a data set of pictures smaller than models expect; None where it has none."""
    dataset = catalog.dataset(str(flat["data.name"])) if flat.get("data.name") else None
    sides = _SQUARE.fullmatch(dataset.typical_sample) if dataset is not None and dataset.unit == "image" else None
    side = float(sides[1]) if sides is not None else MOST_SMALL + 1.0
    return side if side <= MOST_SMALL else None


def _is_for_tuning(flat: Flat, catalog: Catalog) -> bool:
    """Whether the named data set is one that models are fine-tuned on."""
    dataset = catalog.dataset(str(flat["data.name"])) if flat.get("data.name") else None
    return dataset is not None and "tuning" in dataset.used_for
