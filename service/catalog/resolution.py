"""What resolving a configuration gives: engine values, what was assumed, or what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.engine.layout import Flaw

Flat = Mapping[str, object]


Values = dict[str, float | str]


@dataclass(frozen=True)
class Assumption:
    """A value that nobody stated, and why it was taken."""

    field: str
    value: object
    reason: str


class Unresolvable(ValueError):  # noqa: N818 - an answer that callers keep beside `Resolved`, not only a failure
    """The configuration can't be turned into work for the engine; `errors` names each field at fault."""

    def __init__(self, errors: Sequence[Flaw]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = list(errors)


@dataclass
class Resolved:
    """A configuration made computable."""

    values: Values
    assumptions: list[Assumption] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    layout: dict[str, object] = field(default_factory=dict)
    samples_to_train: float = math.nan
    tokens_to_train: float = math.nan
    amount_factor: float = 1.0  # how uncertain the amount is: its 90th percentile over its median
    fits: bool = True


def to_number(value: object) -> float:
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, (int, float)):
        return float(value)
    text = str(value).strip().lower()
    if text in ("true", "false"):
        return float(text == "true")
    return float(text)


def stated_number(flat: Flat, name: str) -> float:
    value = flat.get(name)
    return math.nan if value is None or value == "" else to_number(value)


def number(values: Values, name: str, default: float = math.nan) -> float:
    value = values.get(name)
    return default if value is None or isinstance(value, str) or math.isnan(value) else float(value)


def is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
