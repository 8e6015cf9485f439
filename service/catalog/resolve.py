"""From a configuration to a row the engine can compute: what is given wins, then the catalog, then derivation,
then assumption, and every assumption that could matter is listed.

A *measured* configuration is taken as it was. For estimates and plans the layout must be able to run, and what the
caller leaves open is chosen so that it fits in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.catalog.catalog import Catalog
from service.catalog.parts import Parts, parts_of
from service.catalog.resolution import Flat, Resolved, Unresolvable
from service.catalog.resolve_amount import add_amount
from service.catalog.resolve_layout import PRIORS, chosen_layouts, measured_layout, searched_by_its_runners
from service.catalog.resolve_training import assumed_weights
from service.engine import layout as layouts
from service.engine.judge import Judge
from service.engine.table import Table


def resolve(flat: Flat, catalog: Catalog, *, measured: bool = False, judge: Judge | None = None) -> Resolved:
    """Resolve one configuration given as dotted names, e.g. `{"model.name": "bert-large", ...}`.

    Args:
        flat: what was stated.
        catalog: the reference tables.
        measured: whether it was run as it is.
        judge: by what a layout that is left open is chosen; given of a run that is measured, it is taken to have had
            the layout that an estimate of it is given.

    Raises Unresolvable naming every field at fault (unknown accelerator, nothing known about the model, a layout that
    can't run, a precision the chip doesn't have).
    """
    (answer,) = _resolved([flat], catalog, measured=measured, judge=judge)
    if isinstance(answer, Unresolvable):
        raise answer
    return answer


def resolve_table(
    flats: Sequence[Flat], catalog: Catalog, *, measured: bool = False, judge: Judge | None = None
) -> tuple[Table, list[Resolved | Unresolvable]]:
    """Resolve many; the table holds the rows that resolved, in order, the list an answer for each row given."""
    answers = _resolved(flats, catalog, measured=measured, judge=judge)
    table = Table.from_rows([answer.values for answer in answers if isinstance(answer, Resolved)])
    if measured and len(table):
        table = layouts.assumed(table)
    return table, answers


def resolve_open(flat: Flat, catalog: Catalog) -> Resolved:
    """Resolve all but the layout, of which the values have only what was stated; raises as `resolve` does."""
    return _opened(flat, catalog, parts_of(flat, catalog, measured=False))


def _opened(flat: Flat, catalog: Catalog, parts: Parts) -> Resolved:
    resolved = Resolved(
        parts.values(),
        [made for part in parts for made in part.assumptions],
        [doubt for part in parts for doubt in part.warnings],
    )
    add_amount(flat, catalog, resolved)
    return resolved


def _resolved(
    flats: Sequence[Flat], catalog: Catalog, *, measured: bool, judge: Judge | None
) -> list[Resolved | Unresolvable]:
    found: list[Parts | Unresolvable] = []
    for flat in flats:
        try:
            found.append(parts_of(flat, catalog, measured=measured))
        except Unresolvable as error:
            found.append(error)
    readable = [parts for parts in found if isinstance(parts, Parts)]
    told_as_asked = judge is not None or not measured
    known = chosen_layouts(readable if told_as_asked else filter(searched_by_its_runners, readable), judge or PRIORS)
    answers: list[Resolved | Unresolvable] = []
    for flat, parts in zip(flats, found, strict=True):
        if isinstance(parts, Unresolvable):
            answers.append(parts)
            continue
        resolved = _opened(flat, catalog, parts)
        layout = known.get(parts)
        if layout is None or (measured and (layout.flaws or not layout.fits)):
            measured_layout(resolved.values)
        else:
            if layout.flaws:
                answers.append(Unresolvable(layout.flaws))
                continue
            resolved.values |= layout.values
            resolved.assumptions += layout.assumptions
            resolved.fits = layout.fits
            if not measured:
                resolved.assumptions += assumed_weights(resolved.values)
        answers.append(resolved)
    return answers
