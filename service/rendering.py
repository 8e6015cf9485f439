"""Answers as people read them in a terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from service.cli.benching import Made
    from service.estimates.schemas import Estimate, Quantity
    from service.evaluations.schemas import Evaluation, Score
    from service.launch_configs import LaunchConfig
    from service.levers.schemas import Lever, Levers
    from service.offers.schemas import Offers
    from service.plans.schemas import Plan, PlanAnswer
    from service.sweeps.schemas import Band, Sweep

SECONDS_IN = (
    ("years", 31_557_600.0),
    ("days", 86_400.0),
    ("hours", 3_600.0),
    ("minutes", 60.0),
    ("s", 1.0),
    ("ms", 1e-3),
)
# How a layout is told in a table; what is 1 or none is left out.
LAYOUT_WORDS = {
    "tensor_parallel": "tensor",
    "pipeline_parallel": "pipeline",
    "virtual_pipeline": "chunks",
    "context_parallel": "context",
    "expert_parallel": "expert",
    "data_parallel": "data",
    "micro_batch": "micro-batch",
    "sharding": "sharding",
    "recompute": "recompute",
    "recompute_share": "of the layers",
    "offload": "offload",
}
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float) -> str:
    """Three significant digits, thousands separated: `1,234`, `0.0123`."""
    if value == 0 or 1e-4 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) < 1e12 and abs(value) >= 1000 else f"{value:.3g}"


def seconds(value: float) -> str:
    """A length of time in the unit that suits it: `34.1 days`."""
    for name, size in SECONDS_IN:
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value * 1e6:.3g} us"


def with_prefix(value: float) -> str:
    """A large number with a letter for its thousands: `138 k`."""
    for size, letter in PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def estimate(answer: "Estimate") -> RenderableType:
    """An estimate as a table of its quantities, then its parts, assumptions and warnings."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for heading in ("p10", "median", "p90"):
        table.add_column(heading, justify="right")

    def row(name: str, found: "Quantity | None", show: "type[str] | object", scale: float = 1.0) -> None:
        if found is not None and callable(show):
            table.add_row(name, *(str(show(side * scale)) for side in (found.p10, found.p50, found.p90)))

    row("duration", answer.duration_hours, seconds, 3600.0)
    row("accelerator hours", answer.accelerator_hours, number)
    row("cost, USD", answer.cost_usd, number)
    row("energy, kWh", answer.energy_kwh, number)
    row("carbon, kg CO2e", answer.carbon_kg_co2e, number)
    row("embodied, kg CO2e", answer.embodied_kg_co2e, number)
    row("samples per second", answer.throughput.samples_per_second, with_prefix)
    row("tokens per second", answer.throughput.tokens_per_second, with_prefix)
    row("one step", answer.step_seconds, seconds)
    row("MFU", answer.mfu, "{:.1%}".format)
    available = f" of {answer.memory.available_gb:g}" if answer.memory.available_gb else ""
    row(f"peak memory, GB{available}", answer.memory.peak_gb, number)
    parts: list[RenderableType] = [table, Text()]
    parts.append(_line("step", _shares(answer.breakdown)))
    parts.append(_line("memory", _shares(answer.memory.parts)))
    layout = {name: value for name, value in answer.layout.model_dump().items() if value is not None}
    parts.append(_line("layout", ", ".join(f"{name} {_plain(value)}" for name, value in layout.items())))
    nearest = (
        f", nearest {', '.join(near.id for near in answer.evidence.nearest[:2])}" if answer.evidence.nearest else ""
    )
    parts.append(_line("evidence", f"{answer.evidence.grade}, calibration {answer.evidence.calibration}{nearest}"))
    if answer.assumptions:
        parts += [Text(), Text("assumed", style="bold")]
        parts += [Text(f"  {made.field} = {_plain(made.value)}: {made.reason}") for made in answer.assumptions]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in answer.warnings]
    return Group(*parts)


def levers(found: "Levers") -> RenderableType:
    """Levers as a table, best first, then what they are stacked to, the recipe's choices, and what does not help."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("lever")
    for heading in ("speed-up", "80 %", "duration", "USD", "GB"):
        table.add_column(heading, justify="right")
    table.add_column("change")
    now = found.baseline
    hours = now.duration_hours
    table.add_row(
        "(as it is)",
        "1",
        "",
        "-" if hours is None else seconds(hours.p50 * 3600.0),
        "-" if now.cost_usd is None else number(now.cost_usd.p50),
        number(now.memory.peak_gb.p50),
        "",
        style="dim",
    )
    for group in (found.levers, found.combined, found.recipe):
        table.add_section()
        for lever in group:
            table.add_row(*_lever(lever))
    parts: list[RenderableType] = [table, Text()]
    stacked = [Text(f"{lever.name}: {' + '.join(lever.levers)}") for lever in found.combined]
    assumed = dict.fromkeys(lever.assumed for lever in (*found.levers, *found.recipe) if lever.assumed)
    parts += [*stacked, *(Text(f"assumed: {said}") for said in assumed)]
    if found.batch is not None:
        best, critical = number(found.batch.best_global_batch), number(found.batch.critical_batch)
        parts.append(Text(f"global batch: {best} takes the shortest time, {critical} is critical"))
    parts += [Text(f"not {one.name}: {one.reason}", style="dim") for one in found.not_applicable]
    return Group(*parts)


def plans(answer: "PlanAnswer") -> RenderableType:
    """Plans as a table, best first, then why others fell out, or what would work."""
    parts: list[RenderableType] = []
    if answer.plans:
        parts.append(_plans_table(answer.plans))
    for way in answer.nearest_feasible:
        change = ", ".join(f"{path} = {_plain(value)}" for path, value in way.change.items())
        parts += [Text(f"would work with {change}: {way.reason}"), _plans_table([way.plan])]
    fell_out = ", ".join(f"{reason.replace('_', ' ')} {many:,}" for reason, many in answer.rejected.items())
    parts += [Text(), _line("tried", f"{answer.considered:,} configurations; {fell_out}")]
    parts.append(_line("evidence", f"calibration {answer.calibration}"))
    if answer.assumptions:
        parts += [Text(), Text("assumed", style="bold")]
        parts += [Text(f"  {made.field} = {_plain(made.value)}: {made.reason}") for made in answer.assumptions]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in answer.warnings]
    return Group(*parts)


def _plans_table(found: "Sequence[Plan]") -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    headings = (
        "",
        "accelerators",
        "precision",
        "duration",
        "80 %",
        "cost, USD",
        "energy, kWh",
        "MFU",
        "fits",
        "layout",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("", "accelerators", "precision", "layout") else "right")
    for plan in found:
        hours = plan.duration_hours
        table.add_row(
            "*" if plan.pareto else "",
            f"{plan.hardware['count']} {plan.hardware['accelerator']}",
            str(plan.training["precision"]),
            seconds(3600.0 * hours.p50),
            f"{seconds(3600.0 * hours.p10)} to {seconds(3600.0 * hours.p90)}",
            *("-" if side is None else number(side.p50) for side in (plan.cost_usd, plan.energy_kwh)),
            "-" if plan.mfu is None else f"{plan.mfu.p50:.1%}",
            f"{plan.fits_probability:.0%}",
            ", ".join(
                f"{name} {plan.training[field]}"
                for field, name in LAYOUT_WORDS.items()
                if plan.training.get(field) not in (None, 1, "none")
            ),
        )
    return table


def evaluation(made: "Evaluation", by: str) -> RenderableType:
    """An evaluation as a table by group, then what was skipped."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(by)
    for heading in ("rows", "MAPE", "median APE", "bias", "in 80 %", "p90/p10", "memory rows", "memory MAPE", "fit"):
        table.add_column(heading, justify="right")
    for name, score in made.by.items():
        table.add_row(name or "(none)", *_score(score))
    table.add_section()
    table.add_row("overall", *_score(made.overall), style="bold")
    parts: list[RenderableType] = [table, Text()]
    parts.append(Text(f"{made.scored} of {made.rows} rows scored, calibration {made.calibration}."))
    parts += [Text(f"  row {skipped.row} skipped: {skipped.reason}") for skipped in made.skipped[:20]]
    if len(made.skipped) > 20:
        parts.append(Text(f"  and {len(made.skipped) - 20} more"))
    parts.append(Text(made.note, style="dim"))
    return Group(*parts)


def launch_config(name: str, read: "LaunchConfig") -> RenderableType:
    """What was made of another framework's file: fields by option, then what was ignored, by reason."""
    table = Table(title=name, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for heading in ("option", "field", "value"):
        table.add_column(heading)
    for item in read.understood:
        table.add_row(item.option, item.field, _plain(item.value))
    for name, value in read.defaults.items():
        table.add_row("(framework's default)", name, _plain(value), style="dim")
    parts: list[RenderableType] = [table]
    for reason in dict.fromkeys(item.reason for item in read.ignored):
        options = ", ".join(item.option for item in read.ignored if item.reason == reason)
        parts.append(Text(f"ignored, {reason}: {options}", style="dim"))
    return Group(*parts, Text())


def benchmarks(made: Sequence["Made"]) -> RenderableType:
    """What a machine was measured to do, a line a workload, then why some of it is doubtful."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("workload")
    for heading in ("batch", "precision", "samples/s", "tokens/s", "step", "spread", "peak GB"):
        table.add_column(heading, justify="right")
    for one in made:
        steady, peak = one.steady, one.row.get("result.peak_memory_gb")
        tokens = with_prefix(steady.samples_per_second * steady.tokens_per_sample) if steady.tokens_per_sample else "-"
        table.add_row(
            one.workload,
            _plain(one.row["training.global_batch"]),
            str(one.row["training.precision"]),
            number(steady.samples_per_second),
            tokens,
            seconds(steady.step_seconds),
            f"{steady.spread:.1%}",
            number(peak) if isinstance(peak, float) else "-",
        )
    chips = dict.fromkeys(str(one.row["hardware.accelerator"]) for one in made)
    doubts = [Text(f"{one.workload}: {reason}", style="yellow") for one in made for reason in one.reasons]
    stored = [Text(f"{one.workload} submitted: {one.stored.id} {one.stored.status}") for one in made if one.stored]
    return Group(Text(", ".join(chips), style="bold"), table, *doubts, *stored)


def sweep(answer: "Sweep") -> RenderableType:
    """A sweep as a table of each curve, then why points are missing."""
    parts: list[RenderableType] = []
    for curve in answer.curves:
        title = ", ".join(f"{path} = {_plain(value)}" for path, value in curve.fixed.items())
        table = Table(box=None, header_style="bold", pad_edge=False, title=title or None, title_justify="left")
        table.add_column(curve.path)
        for heading in ("duration", "80 %", "cost, USD", "samples/s", "speed-up", "efficiency", "80 %", "memory, GB"):
            table.add_column(heading, justify="right")
        for row, value in enumerate(curve.x):
            table.add_row(
                _plain(value),
                _at(curve.duration_hours.p50, row, lambda hours: seconds(hours * 3600)),
                _between(curve.duration_hours, row, lambda hours: seconds(hours * 3600)),
                _at(curve.cost_usd.p50, row, number),
                _at(curve.samples_per_second.p50, row, with_prefix),
                _at(curve.speedup.p50, row, "{:.2f}".format),
                _at(curve.efficiency.p50, row, "{:.0%}".format),
                _between(curve.efficiency, row, "{:.0%}".format),
                _at(curve.memory_peak_gb.p50, row, number) + ("" if curve.fits[row] is not False else " too much"),
            )
        parts += [table, Text()]
    for point in answer.points:
        if point.problem is not None:
            where = ", ".join(f"{path} = {_plain(value)}" for path, value in point.values.items())
            parts.append(Text(f"{where}: {point.problem.detail}", style="yellow"))
    return Group(*parts)


def offers(answer: "Offers") -> RenderableType:
    """Offers as a table, best first."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("provider", "region", "kind", "date"):
        table.add_column(heading)
    for heading in ("USD/h", "cost, USD", "energy, kWh", "carbon, kg CO2e"):
        table.add_column(heading, justify="right")
    for offer in answer.offers:
        table.add_row(
            offer.provider or "-",
            offer.region or "-",
            offer.kind.replace("_", "-"),
            offer.date or "-",
            number(offer.usd_per_accelerator_hour),
            number(offer.cost_usd.p50),
            number(offer.energy_kwh.p50) if offer.energy_kwh else "-",
            number(offer.carbon_kg_co2e.p50) if offer.carbon_kg_co2e else "-",
        )
    whole = f"{seconds(answer.duration_hours.p50 * 3600)}, {number(answer.accelerator_hours.p50)} accelerator hours"
    warnings = [Text(f"warning: {warning}", style="yellow") for warning in answer.warnings]
    return Group(Text(f"{whole} of {answer.accelerator}"), Text(), table, *warnings)


def console(*, stderr: bool = False) -> Console:
    """The terminal; plain where it is none, or where NO_COLOR is set. Long lines are left to whoever reads a pipe."""
    made = Console(stderr=stderr, highlight=False, soft_wrap=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=2000)


def _at(values: Sequence[float | None], row: int, show: Callable[[float], str]) -> str:
    value = values[row]
    return "-" if value is None else show(value)


def _between(band: "Band", row: int, show: Callable[[float], str]) -> str:
    low, high = _at(band.p10, row, show), _at(band.p90, row, show)
    return "-" if low == "-" else f"{low} to {high}"


def _lever(lever: "Lever") -> list[str]:
    speedup, hours = lever.speedup, lever.duration_hours
    changes = (f"no {path}" if value is None else f"{path} = {_plain(value)}" for path, value in lever.change.items())
    return [
        lever.name,
        number(speedup.p50),
        f"{number(speedup.p10)} to {number(speedup.p90)}",
        "-" if hours is None else seconds(hours.p50 * 3600.0),
        "-" if lever.cost_usd is None else number(lever.cost_usd.p50),
        number(lever.memory.peak_gb.p50),
        ", ".join(changes),
    ]


def _score(score: "Score") -> list[str]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    return [
        str(score.n),
        share(score.mape),
        share(score.median_ape),
        "-" if score.bias is None else f"{score.bias:+.3f}",
        share(score.coverage_80),
        "-" if score.median_interval_ratio is None else f"{score.median_interval_ratio:.2f}",
        str(score.memory_n),
        share(score.memory_mape),
        share(score.memory_fit_share),
    ]


def _shares(parts: Mapping[str, float]) -> str:
    whole = sum(parts.values()) or 1.0
    largest = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(
        f"{name.replace('_', ' ')} {value / whole:.0%}" for name, value in largest if value / whole >= 0.005
    )


def _line(name: str, text: str) -> Text:
    return Text.assemble((f"{name:<9}", "bold"), text)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float | int) and not isinstance(value, bool) else str(value)
