"""What resolving a configuration gives: engine values, what was assumed, or what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.engine.layout import Flaw

Flat = Mapping[str, object]
Items = tuple[tuple[str, object], ...]
"""Some of a configuration's stated fields, hashable."""

Values = dict[str, float | str]

LAYOUT_FIELDS = (
    "tensor_parallel",
    "pipeline_parallel",
    "context_parallel",
    "expert_parallel",
    "data_parallel",
    "virtual_pipeline",
    "micro_batch",
    "gradient_accumulation",
    "global_batch",
    "sharding",
    "recompute",
    "recompute_share",
    "offload",
)
MOST_PARTS = 2048  # of each kind that are remembered: a few kilobytes each
SHOWN_WITH_LAYOUT = (*LAYOUT_FIELDS, "sharding_group", "precision", "optimizer", "per_node")


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """What a part of a configuration comes to: its model and data, hardware, training, software, or layout.

    Remembered, and shared by all rows that state the part alike: nobody changes it. The same part is the same object,
    so that parts can be keys themselves.
    """

    stated: Items  # what it was resolved from
    values: Values
    assumptions: Sequence[Assumption] = ()
    warnings: Sequence[str] = ()
    flaws: Sequence[Flaw] = ()
    fits: bool = True  # of a layout: whether it is predicted to fit in memory


@dataclass(slots=True)
class Resolved:
    """A configuration made computable."""

    values: Values
    assumptions: list[Assumption] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    samples_to_train: float = math.nan
    tokens_to_train: float = math.nan
    uncounted: str = ""  # why the amount that is given is no number of samples
    fits: bool = True
    amount_factor: float = 1.0  # how uncertain the amount is: its 90th percentile over its median

    @property
    def layout(self) -> Values:
        """How the work is split and held, without what is not known."""
        values = self.values
        return {name: values[name] for name in SHOWN_WITH_LAYOUT if name in values and not is_nan(values[name])}


def to_number(value: object) -> float:
    """A stated value as a number; the texts `true` and `false` are 1 and 0."""
    if isinstance(value, (int, float)):
        return float(value)
    text = str(value).strip().lower()
    if text in ("true", "false"):
        return float(text == "true")
    return float(text)


def stated_number(flat: Flat, name: str) -> float:
    """A stated field as a number; NaN where it is not stated."""
    value = flat.get(name)
    if type(value) is float:
        return value
    return math.nan if value is None or value == "" else to_number(value)


def number(values: Values, name: str, default: float = math.nan) -> float:
    """An engine value, or the default where it is unknown."""
    value = values.get(name)
    return default if value is None or isinstance(value, str) or math.isnan(value) else float(value)


def is_nan(value: object) -> bool:
    """Whether a value is the number that stands for nothing known."""
    return isinstance(value, float) and math.isnan(value)


def or_zero(value: float) -> float:
    """The number, or 0 for NaN."""
    return 0.0 if math.isnan(value) else value
