"""Vetting: is a submitted row whole, can it be, and does the forecast expect it? Many rows at once, nothing stored."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from service.catalog.catalog import Catalog
from service.catalog.normalise import normalise
from service.catalog.operating_facts import operating_facts
from service.catalog.records import Accelerator
from service.catalog.resolution import Assumption, Resolved, Unresolvable
from service.catalog.resolve import resolve_table
from service.engine.economics import step_seconds_per_sample
from service.engine.observed import WHOLE_RUN_UNITS
from service.engine.plausibility import IMPLAUSIBLE_LOG, Judge, Plausibility
from service.engine.table import FloatArray, Table
from service.field_types import PRECISIONS
from service.problems import FieldError
from service.submissions.forecasts import SavedForecast

Fields = Mapping[str, object]

# What the arithmetic of "faster than the chip can be" stands on: where one of these was assumed, the assumption may be
# what errs, so that the row is kept aside instead of refused.
DECISIVE = frozenset({"hardware.count", "training.precision", "model", "model.family"})
DECISIVE_PER_SAMPLE = DECISIVE | {"data.sequence_length"}
MOST_UNSAID = 10.0
"""How many times more than the most favourable of what was left unsaid explains cannot be: judgement, for kinds and
sizes of models that were guessed, and for work that does not grow with the length of samples."""
MOST_ACCELERATORS = 1e5
"""Judgement: ten times the largest run among the shipped measurements, 11,616 accelerators."""
MOST_OF_MEMORY = 1.1
"""A chip's "80 GB" may be 80 x 2^30 bytes, 1.074 times as many as 80 x 10^9."""
OWN_MEMORY = ("gpu", "asic")
"""Kinds of chips whose memory is sold with them; others have as much as was plugged in."""
ELSEWHERE = timedelta(days=1)  # where it is tomorrow already, and for clocks that are fast
AGREES_ON = ("family", "model", "accelerator", "mode", "precision", "framework")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row that is stored: what it says in canonical spelling, its status and why, and how the forecast fared."""

    fields: dict[str, object]
    status: str
    reason: str | None = None
    deviation_log: float | None = None
    agreement_key: str | None = None
    forecast_error_log: float | None = None
    forecast_covered: bool | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that is not stored, and the fields at fault."""

    errors: tuple[FieldError, ...]

    @property
    def detail(self) -> str:
        """What is wrong, in a sentence."""
        first = self.errors[0]
        return f"{first.field}: {first.message}" if first.field else first.message


def vet(
    rows: Sequence[Fields], catalog: Catalog, judge: Judge, estimates: Mapping[str, SavedForecast]
) -> list[Verdict | Refusal]:
    """A verdict or a refusal for each row, in order.

    Args:
        rows: stated fields by dotted name, each typed by the vocabulary.
        catalog: the reference tables.
        judge: of the shared forecaster.
        estimates: the saved estimates that rows may name, by id.
    """
    verdicts: list[Verdict | Refusal | None] = [None] * len(rows)
    known: list[tuple[int, dict[str, object]]] = []
    for position, row in enumerate(rows):
        errors = [*flaws(row, estimates), *_misdated(row)]
        fields = normalise(row) if not errors else {}
        errors = errors or _of_another_run(fields, catalog, estimates)
        if errors:
            verdicts[position] = Refusal(tuple(errors))
        else:
            known.append((position, fields))
    # Every row is judged as a new site's would be: its source's name must not choose who it is compared with.
    asked = [{name: value for name, value in fields.items() if name != "provenance.source"} for _, fields in known]
    table, answers = resolve_table(asked, catalog, measured=True)
    resolved: list[tuple[int, dict[str, object], Resolved]] = []
    for (position, fields), answer in zip(known, answers, strict=True):
        if isinstance(answer, Unresolvable):
            verdicts[position] = _unresolved(fields, answer)
        else:
            resolved.append((position, fields, answer))
    if resolved:
        judged = _judged(table, resolved, judge, catalog, estimates)
        for (position, _, _), verdict in zip(resolved, judged, strict=True):
            verdicts[position] = verdict
    return [verdict for verdict in verdicts if verdict is not None]


def flaws(row: Fields, estimates: Mapping[str, SavedForecast]) -> list[FieldError]:
    """What keeps a row from being a measurement at all, beyond the types of its fields."""
    found: list[FieldError] = []
    if row.get("hardware.accelerator") is None:
        found.append(FieldError(field="hardware.accelerator", message="is required", hint="see GET /v1/accelerators"))
    if not any(name.startswith("model.") for name in row):
        found.append(
            FieldError(
                field="model",
                message="nothing is said of the model",
                hint="give model.name, a shape, model.parameters, model.forward_gmacs or model.huggingface_config",
            )
        )
    value, unit = row.get("result.value"), row.get("result.unit")
    if value is None and not row.get("result.out_of_memory"):
        found.append(
            FieldError(
                field="result.value", message="is required", hint="give it with result.unit, or result.out_of_memory"
            )
        )
    if (value is None) != (unit is None) and not row.get("result.out_of_memory"):
        found.append(FieldError(field="result.unit", message="result.value and result.unit belong together"))
    named = row.get("estimate_id")
    if named is not None and named not in estimates:
        found.append(
            FieldError(
                field="estimate_id",
                message=f"there is no saved estimate {named!r}",
                hint="give the id of POST /v1/estimates with save, or leave it out",
            )
        )
    return found


def _misdated(row: Fields) -> list[FieldError]:
    """Whether a row was measured on no day there is, or on one to come."""
    stated = row.get("provenance.measured_on")
    if stated is None:
        return []
    try:
        since = date.fromisoformat(f"{stated}-01-01"[:10])
    except ValueError:
        message = f"{stated!r} is no day, month or year of the calendar"
    else:
        if since <= (datetime.now(UTC) + ELSEWHERE).date():
            return []
        message = f"{stated} is yet to come"
    hint = "say when it was measured: 2024, 2024-05 or 2024-05-17"
    return [FieldError(field="provenance.measured_on", message=message, hint=hint)]


def _of_another_run(
    fields: Mapping[str, object], catalog: Catalog, estimates: Mapping[str, SavedForecast]
) -> list[FieldError]:
    """Whether the saved estimate that a row names was asked for another run."""
    named = fields.get("estimate_id")
    differences = [] if named is None else estimates[str(named)].differences(fields, catalog)
    if not differences:
        return []
    return [
        FieldError(
            field="estimate_id",
            message=f"is a forecast of another run: {'; '.join(differences)}",
            hint="give the id of the estimate of this run, or leave it out",
        )
    ]


def _unresolved(fields: dict[str, object], answer: Unresolvable) -> Verdict | Refusal:
    """An unknown chip is a slip to put right; work that nothing tells of is kept, for a later catalog may know."""
    slips = [flaw for flaw in answer.errors if flaw.field == "hardware.accelerator"]
    if slips:
        return Refusal(tuple(FieldError(field=flaw.field, message=flaw.message, hint=flaw.hint) for flaw in slips))
    return Verdict(fields, "quarantined", f"It cannot be compared with a forecast: {answer}.")


def _judged(
    table: Table,
    rows: Sequence[tuple[int, dict[str, object], Resolved]],
    judge: Judge,
    catalog: Catalog,
    estimates: Mapping[str, SavedForecast],
) -> list[Verdict | Refusal]:
    value = np.array([_number(fields.get("result.value")) for _, fields, _ in rows])
    unit = np.array([str(fields.get("result.unit") or "") for _, fields, _ in rows], dtype=object)
    samples = np.array([answer.samples_to_train for _, _, answer in rows])
    seconds = step_seconds_per_sample(table, value, unit, samples, operating_facts())
    with np.errstate(divide="ignore", invalid="ignore"):
        log_seconds: FloatArray = np.log(seconds)
    plausible = judge.judge(table, log_seconds)
    keys = agreement_keys(table)
    verdicts: list[Verdict | Refusal] = []
    for index, (_, fields, answer) in enumerate(rows):
        made = _one(index, fields, answer, table, plausible, catalog)
        if isinstance(made, Refusal):
            verdicts.append(made)
            continue
        status, reason = made
        deviation = float(plausible.deviation_log[index])
        saved = estimates.get(str(fields.get("estimate_id")))
        compared = saved is not None and math.isfinite(seconds[index])
        verdicts.append(
            Verdict(
                fields,
                status,
                reason,
                deviation if math.isfinite(deviation) else None,
                keys[index] if _may_agree(index, plausible) else None,
                math.log(saved.p50 / float(seconds[index])) if saved and compared else None,
                bool(saved.p10 <= seconds[index] <= saved.p90) if saved and compared else None,
            )
        )
    return verdicts


def _may_agree(index: int, plausible: Plausibility) -> bool:
    """Whether another team's row may vouch for it: of what cannot be, as it is read, two are no better than one."""
    impossible = bool(plausible.times_peak[index] > plausible.impossible_beyond[index])
    return not impossible and abs(float(plausible.deviation_log[index])) <= IMPLAUSIBLE_LOG


def _one(
    index: int, fields: dict[str, object], answer: Resolved, table: Table, plausible: Plausibility, catalog: Catalog
) -> tuple[str, str | None] | Refusal:
    """Status and reason of one row, or why it cannot be."""
    if fields.get("result.value") is None:
        return "accepted", None
    if (flaw := _too_much_memory(fields, catalog.accelerators[table.text("accelerator")[index]])) is not None:
        return Refusal((flaw,))
    times, deviation = float(plausible.times_peak[index]), float(plausible.deviation_log[index])
    unit = str(fields["result.unit"])
    if not math.isfinite(deviation):
        return "quarantined", f"It cannot be compared with a forecast: {_no_time(unit, answer)}."
    if times > 1.0:
        arithmetic = _arithmetic(index, fields, table, plausible)
        bound = float(plausible.impossible_beyond[index])
        decisive = DECISIVE_PER_SAMPLE if unit.startswith("samples") or "step" in unit else DECISIVE
        assumed = [made for made in answer.assumptions if made.field in decisive]
        explained = bound * _most_unsaid(index, assumed, table, catalog)
        if times > explained:
            unsaid = ", ".join(made.field for made in assumed)
            whatever = f", whatever is true of what was left unsaid ({unsaid})" if assumed else ""
            return Refusal(
                (
                    FieldError(
                        field="result.value",
                        message=f"is faster than the hardware can be: {arithmetic}, and at most {explained:.3g} times "
                        f"can be explained{whatever}",
                        hint="check result.unit, hardware.count, training.precision and the size of the model",
                    ),
                )
            )
        reason = (
            f"more than the {bound:g} times that can be explained, so that only a curator can vouch for it"
            if times > bound
            else f"up to {bound:g} times may come from how work is counted, so that somebody has to vouch for it"
        )
        unsaid = "".join(f"; {made.field} = {made.value} was assumed" for made in assumed)
        return "quarantined", f"It ran faster than the chips' peak: {arithmetic}; {reason}{unsaid}."
    beyond = float(plausible.doubtful_beyond_log[index])
    if abs(deviation) > beyond:
        way = "faster" if deviation > 0 else "slower"
        return "quarantined", (
            f"It ran {math.exp(abs(deviation)):.3g} times {way} than forecast, and the forecast is good to within a "
            f"factor of {math.exp(beyond):.3g} here."
            + (" So far off, only a curator can vouch for it." if abs(deviation) > IMPLAUSIBLE_LOG else "")
        )
    return "accepted", None


def _too_much_memory(fields: Fields, chip: Accelerator) -> FieldError | None:
    """Whether more memory was measured than the chip has."""
    peak = _number(fields.get("result.peak_memory_gb"))
    if chip.kind not in OWN_MEMORY or not peak > MOST_OF_MEMORY * chip.memory_gb:
        return None
    return FieldError(
        field="result.peak_memory_gb",
        message=f"is more than the chip has: {peak:g} GB, and one {chip.slug} has {chip.memory_gb:g} GB",
        hint="give the peak of one accelerator in GB (10^9 bytes), and name the chip with its memory in "
        "hardware.accelerator where there are several sizes",
    )


def _most_unsaid(index: int, assumed: Sequence[Assumption], table: Table, catalog: Catalog) -> float:
    """How many times faster than as it was read a run may have been, had the assumptions been the most favourable."""
    if not assumed:
        return 1.0
    fields = {made.field for made in assumed}
    times = MOST_UNSAID
    if "hardware.count" in fields:
        times *= max(MOST_ACCELERATORS / float(table["count"][index]), 1.0)
    if "training.precision" in fields:
        chip, peak = catalog.accelerators[table.text("accelerator")[index]], float(table["peak_tflops"][index])
        times *= max((known / peak for name in PRECISIONS if (known := chip.peak_tflops(name)) > peak), default=1.0)
    if "data.sequence_length" in fields:
        times *= max(float(table["sequence_length"][index]), 1.0)  # samples of a single token
    return times


def _arithmetic(index: int, fields: dict[str, object], table: Table, plausible: Plausibility) -> str:
    """The counted work beside the peak: `412 samples_per_second x 1.2e+13 FLOP a sample = 4944 TFLOP/s, ...`."""
    times = float(plausible.times_peak[index])
    peak, count = float(table["peak_tflops"][index]), float(table["count"][index])
    flops = float(plausible.flops_per_sample[index])
    rate = times * peak * 1e12 * count / flops
    measured = f"{fields['result.value']:g} {fields['result.unit']}"
    if fields["result.unit"] != "samples_per_second":
        measured += f", that is {rate:.4g} samples/s,"
    return (
        f"{measured} x {flops:.4g} FLOP a sample = {rate * flops / 1e12:.4g} TFLOP/s, and "
        f"{count:g} x {table.text('accelerator')[index]} at {table.text('precision')[index]} peak at "
        f"{count:g} x {peak:.4g} = {count * peak:.4g} TFLOP/s: {times:.3g} times the peak"
    )


def agreement_keys(table: Table) -> list[str]:
    """Digest of what makes each of n runs of the same kind as another: independent teams may agree on them."""
    columns = [table.text(name).tolist() for name in AGREES_ON]
    return [
        hashlib.sha256(json.dumps(values, ensure_ascii=False).encode()).hexdigest()[:32]
        for values in zip(*columns, strict=True)
    ]


def _no_time(unit: str, answer: Resolved) -> str:
    if unit in WHOLE_RUN_UNITS and not math.isfinite(answer.samples_to_train):
        return f"{unit} of a whole run need data.tokens, data.samples or a known data.name"
    return "nothing relates the model to any work, or its unit to time"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
