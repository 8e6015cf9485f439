"""Saved forecasts that measurements name: what was predicted, and whether the run is the one it was predicted for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.catalog.catalog import Catalog, name_key
from service.catalog.normalise import normalise
from service.catalog.records import MODEL_FIELDS
from service.codec import format_value
from service.configuration import CONFIGURATION_FIELDS, SECTIONS

MODEL_NAME = "model.name"
ACCELERATOR_COUNT = "hardware.count"
COMPARED = tuple(
    name
    for name in CONFIGURATION_FIELDS
    # How much is trained on changes no speed; free text and versions are written in too many ways to be compared.
    if name not in {"data.tokens", "data.samples", "data.epochs", "hardware.interconnect", "software.framework_version"}
)
AGREE_WITHIN = 0.05
"""Relative difference of numbers that mean the same. Judgement: 7e9 is what people write for 6.74e9 parameters, and
counts and degrees that differ differ by more."""
MOST_DIFFERENCES = 3
"""Differing fields that a refusal names."""


@dataclass(frozen=True, slots=True)
class SavedForecast:
    """What a saved estimate was asked for, and the interval it gave: seconds per sample of the whole job."""

    configuration: Mapping[str, object]
    p10: float
    p50: float
    p90: float

    @classmethod
    def of(cls, request: Mapping[str, Any], answer: Mapping[str, Any]) -> SavedForecast:
        """The forecast of an estimate as it was asked for and answered."""
        stated: dict[str, object] = {
            f"{section}.{name}": value
            for section in SECTIONS
            for name, value in request.get(section, {}).items()
            if value is not None
        }
        # The rate of one accelerator is no forecast of eight. What else was assumed is the forecast's own affair.
        assumed = {made["field"]: made["value"] for made in answer["assumptions"]}
        if ACCELERATOR_COUNT in assumed:
            stated.setdefault(ACCELERATOR_COUNT, assumed[ACCELERATOR_COUNT])
        rate = answer["throughput"]["samples_per_second"]
        return cls(normalise(stated), 1.0 / rate["p90"], 1.0 / rate["p50"], 1.0 / rate["p10"])

    def differences(self, fields: Mapping[str, object], catalog: Catalog) -> list[str]:
        """Where a run is another than the one that was asked about, in words; of the fields that both state.

        Args:
            fields: what the run states, in canonical spelling, by dotted name.
            catalog: the reference tables.
        """
        asked, ran = dict(self.configuration), dict(fields)
        if not (MODEL_NAME in asked and MODEL_NAME in ran):
            # One says by name what the other says by shape.
            asked, ran = _with_shape(asked, catalog), _with_shape(ran, catalog)
        return [
            f"{name} is {format_value(asked[name])} there and {format_value(ran[name])} here"
            for name in COMPARED
            if name in asked and name in ran and not _agree(name, asked[name], ran[name], catalog)
        ][:MOST_DIFFERENCES]


def _with_shape(fields: dict[str, object], catalog: Catalog) -> dict[str, object]:
    entry = catalog.model(str(fields.get(MODEL_NAME, "")))
    implied = entry.stated() if entry is not None else {}
    return {f"model.{name}": implied[name] for name in MODEL_FIELDS if name in implied} | fields


def _agree(name: str, one: object, other: object, catalog: Catalog) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=AGREE_WITHIN)
    if not (isinstance(one, str) and isinstance(other, str)):
        return one == other
    if name == MODEL_NAME:
        one, other = _model(one, catalog), _model(other, catalog)
    return name_key(one) == name_key(other)


def _model(name: str, catalog: Catalog) -> str:
    entry = catalog.model(name)
    return name if entry is None else entry.name
