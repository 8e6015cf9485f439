"""Answers as people read them in a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from service.cli.benching import Made
    from service.estimates.schemas import Estimate, Quantity
    from service.evaluations.schemas import Evaluation, Score
    from service.launch_configs import LaunchConfig

SECONDS_IN = (
    ("years", 31_557_600.0),
    ("days", 86_400.0),
    ("hours", 3_600.0),
    ("minutes", 60.0),
    ("s", 1.0),
    ("ms", 1e-3),
)
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


def console(*, stderr: bool = False) -> Console:
    """The terminal; plain where it is none, or where NO_COLOR is set. Long lines are left to whoever reads a pipe."""
    made = Console(stderr=stderr, highlight=False, soft_wrap=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=2000)


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
