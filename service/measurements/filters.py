"""Filters of measurement lists, from query parameters: `FIELD=x`, `FIELD.at_least=x`, `.at_most=`, `.contains=`."""

from collections.abc import Iterable
from typing import Any

from service.catalog.catalog import load_catalog
from service.catalog.normalise import normalise
from service.codec import format_value, parse_value
from service.configuration import CONFIGURATION_FIELDS, FIELDS, SECTIONS, suggest_field
from service.measurements.repository import Filter, Operator, Scalar
from service.measurements.tables import STATUSES
from service.problems import FieldError, Unprocessable

RESERVED = frozenset({"limit", "cursor", "format", "complete"})
OPERATORS: tuple[Operator, ...] = ("at_least", "at_most", "contains")
SHORT = {"source": "provenance.source"}
MEANT = {
    "model.name": ", or any other name or alias that the catalog (`/v1/models`) has for the same model",
    "hardware.accelerator": ", in any spelling that the catalog (`/v1/accelerators`) has for the same chip",
    "data.name": ", in any spelling that the catalog (`/v1/datasets`) has for the same data set",
}
"""What else a name finds."""
FILTERED = (*CONFIGURATION_FIELDS, *(name for name in FIELDS if name.startswith(("provenance.", "result."))))


def read_filters(parameters: Iterable[tuple[str, str]]) -> list[Filter]:
    """The filters of a query string; repeated fields mean any of their values.

    Spellings are folded as those of measurements are, so that `hardware.accelerator=NVIDIA A100-SXM4-80GB` finds the
    rows of that chip. Models are stored under the names that their sources give them: one that the catalog knows means
    any of its names.

    Raises:
        Unprocessable: A parameter is no field, or its value not one of the field's.
    """
    values: dict[tuple[str, Operator], list[Scalar]] = {}
    errors: list[FieldError] = []
    for name, text in parameters:
        if name in RESERVED:
            continue
        field, operator = _split(name)
        try:
            wanted = _value(field, operator, text)
            values.setdefault((field, operator), []).extend(_names(field, operator, wanted))
        except ValueError as error:
            meant = None if field in FILTERED else suggest_field(field)
            message = str(error).removeprefix(f"{field}: ")
            errors.append(FieldError(field=name, message=message, hint=f"did you mean {meant!r}?" if meant else None))
    if errors:
        raise Unprocessable(f"{errors[0].field}: {errors[0].message}", errors)
    return [Filter(field, tuple(dict.fromkeys(any_of)), operator) for (field, operator), any_of in values.items()]


def filter_parameters() -> list[dict[str, Any]]:
    """The filters as OpenAPI describes them: one parameter a field."""
    described = [
        ("status", f"Status: {', '.join(STATUSES)}.", "accepted"),
        ("source", "Source; short for `provenance.source`.", "megatron-sc21-paper"),
    ]
    described += [
        (name, f"Measurements whose `{name}` is this value{MEANT.get(name, '')}.", _example(name)) for name in FILTERED
    ]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": about,
            "schema": {"type": "array", "items": {"type": "string"}, "examples": [[example]]},
        }
        for name, about, example in described
        if name != "model.huggingface_config"
    ]


def _example(name: str) -> str:
    """A value of a field, as the vocabulary's own example has it."""
    section, _, field = name.partition(".")
    (example, *_) = SECTIONS[section].model_fields[field].examples or ("",)
    return format_value(example)


def _names(field: str, operator: Operator, value: Scalar) -> list[Scalar]:
    """The value, and of a model all names that the catalog has for it."""
    catalog = load_catalog()
    known = catalog.model(str(value)) if field == "model.name" and operator == "equals" else None
    return [value] if known is None else [value, *catalog.spellings(known)]


def _split(name: str) -> tuple[str, Operator]:
    for operator in OPERATORS:
        if name.endswith(f".{operator}"):
            field = name.removesuffix(f".{operator}")
            return SHORT.get(field, field), operator
    return SHORT.get(name, name), "equals"


def _value(field: str, operator: Operator, text: str) -> Scalar:
    if field == "status":
        if text not in STATUSES or operator != "equals":
            raise ValueError(f"a status is one of {', '.join(STATUSES)}")
        return text
    if field not in FILTERED:
        raise ValueError(f"{field!r} is no field that can be filtered by")
    if operator == "contains":
        return text
    value = parse_value(field, text)
    if not isinstance(value, str | int | float | bool):
        raise ValueError("a value is needed")
    if operator != "equals" and isinstance(value, str):
        raise ValueError(f"{operator} compares numbers, and {field} is text")
    folded = normalise({field: value})[field]
    return folded if isinstance(folded, str | float | bool) else float(str(folded))
