"""A lever before it is tried: what it changes, and the run that it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from service.catalog.catalog import Accelerator, Catalog
from service.configuration import nest
from service.engine.operations import TRANSFORMER_FAMILIES, work
from service.engine.table import Table
from service.estimates.schemas import Estimate, EstimateRequest
from service.estimates.targets import leaves_size_open
from service.levers.schemas import Assume, Basis, Group

Change = Mapping[str, JsonValue]
NO_AMOUNT = "the request does not say how many samples are trained on"


@dataclass(frozen=True)
class Trial:
    """A change to try, and what has to be said of it.

    `is_free` changes neither the machines, what is learned, nor how much, so that it stacks with others of its kind;
    `amount_factor` is the 90th percentile over the median of an amount of data that is itself predicted; `at_once` is
    how many such jobs run side by side.
    """

    name: str
    group: Group
    change: Change
    trade_off: str
    basis: Basis = "forecast"
    assumed: str | None = None
    is_free: bool = False
    amount_factor: float = 1.0
    at_once: int = 1


@dataclass(frozen=True)
class Unsuited:
    """A lever that makes no sense here for a reason that is worth telling."""

    name: str
    reason: str


Wanted = Iterator[Trial | Unsuited]


@dataclass(frozen=True, eq=False)
class Situation:
    """The run to shorten: what was asked, what was answered, and the engine's row of it."""

    request: EstimateRequest
    assume: Assume
    baseline: Estimate
    row: Table
    samples_to_train: float  # all epochs of one run; NaN if nobody says
    catalog: Catalog

    @property
    def stated(self) -> Mapping[str, object]:
        """What the caller stated of the configuration, by dotted name."""
        return self.request.configuration()

    @property
    def chip(self) -> Accelerator:
        """The accelerator it runs on."""
        return self.catalog.accelerators[self.text("accelerator")]

    @property
    def dataset(self) -> str:
        """The catalog's name of the data set; empty where none is stated or known."""
        known = self.catalog.dataset(str(self.stated.get("data.name", "")))
        return "" if known is None else known.name

    @property
    def is_language(self) -> bool:
        """Whether it is a Transformer of text."""
        return self.text("family") in TRANSFORMER_FAMILIES

    def number(self, name: str) -> float:
        """A numeric column of the run's row; NaN where unknown."""
        return float(self.row[name][0])

    def text(self, name: str) -> str:
        """A text column of the run's row; empty where unknown."""
        return str(self.row.text(name)[0])

    def released(self, *names: str) -> dict[str, JsonValue]:
        """The change that leaves these fields out, of those that were stated."""
        stated = self.stated
        return {name: None for name in names if name in stated}

    def same_batch(self) -> dict[str, JsonValue]:
        """The change that keeps the global batch where it was assumed: steps must not change along with the rest."""
        if "training.global_batch" in self.stated:
            return {}
        return {"training.global_batch": plain(self.number("global_batch"))}

    def amount(self, *, samples: float | None = None, tokens: float | None = None) -> dict[str, JsonValue]:
        """The change to another amount of data, in samples of all epochs or in tokens."""
        target: dict[str, JsonValue] = {} if self.request.target_loss is None else {"target_loss": None}
        if leaves_size_open(self.request):
            target["model.parameters"] = float(f"{work(self.row).parameters[0]:.4g}")
        wanted = {"data.samples": samples, "data.tokens": tokens}
        given = {name: max(round(float(f"{value:.6g}")), 1) for name, value in wanted.items() if value is not None}
        return {**self.released("data.tokens", "data.samples", "data.epochs"), **target, **given}


def plain(number: float) -> float | int:
    """A whole number as one, as people write counts."""
    return int(number) if number.is_integer() else number


LeverOf = Callable[[Situation], Wanted]
"""A lever: what to try in a situation; nothing where it does not apply."""


def changed(request: EstimateRequest, change: Change) -> EstimateRequest:
    """The request with fields set, or with None left out, by JSON path."""
    document = request.model_dump(mode="json", exclude_unset=True)
    for path, value in nest(change).items():
        if not isinstance(value, dict):
            document[path] = value
            continue
        section = {**document.get(path, {}), **value}
        document[path] = {name: field for name, field in section.items() if field is not None}
    return EstimateRequest.model_validate({name: value for name, value in document.items() if value is not None})
