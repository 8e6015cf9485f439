"""Figures of the accuracy report: predicted against measured, reliability, error by source, learning curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from service.engine.accuracy import CLASSES, LEAST_ROWS, family_class
from service.engine.held_out import HeldOut
from service.engine.table import BoolArray, FloatArray, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart too.
COLD, WARM, RULE, GUIDE = "#0072B2", "#E69F00", "#B8B8B8", "#444444"
TITLES = {"transformer": "Transformers", "other": "Others"}
CLIPPED_AT = 1.5  # an APE beyond this is written beside its bar, not drawn
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "figure.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 150,
    "savefig.bbox": "tight",
}


def draw(report: Mapping[str, Any], table: Table, log_seconds: FloatArray, held_out: HeldOut, folder: Path) -> None:
    """All figures of one report, as PNG files in `folder`."""
    families = table.text("family").astype(str)
    classes = family_class(table)
    by_class = {TITLES[name]: classes == name for name in CLASSES}
    known = np.isfinite(held_out.predicted)
    counts = {name: int(np.sum(known & (families == name))) for name in np.unique(families)}
    ordered = sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])
    by_family = {name.replace("_", "-"): families == name for name in ordered}
    with _style():
        _save(_scatters(by_class, log_seconds, held_out.predicted, 2, 3.6), folder / "predicted_against_measured.png")
        _save(_scatters(by_family, log_seconds, held_out.predicted, 5, 2.3), folder / "predicted_by_family.png")
        _save(_reliability(report), folder / "reliability.png")
        _save(_sources(report["by_source"], LEAST_ROWS), folder / "error_by_source.png")


def draw_curve(curve: Mapping[str, Mapping[str, Mapping[str, Any]]], folder: Path) -> None:
    """Error after learning so many own rows: class -> rows learned -> averages over sources."""
    with _style():
        figure, panels = _panels(1, len(curve), 3.4, 2.8)
        for axes, (name, points) in zip(panels, curve.items(), strict=True):
            for score, label, colour in (
                ("mape", "mean over sources of the mean APE", COLD),
                ("median_ape", "median over sources of the median APE", WARM),
            ):
                errors = [points[rows][score] for rows in points]
                axes.plot(range(len(points)), errors, "o-", markersize=4, color=colour, label=label)
            sources = max(entry["sources"] for entry in points.values())
            axes.set(title=f"{TITLES[name]} ({sources} sources)", xlabel="own rows learned", ylabel="APE")
            axes.set_xticks(range(len(points)), list(points))
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter("{x:.0%}")
        panels[0].legend(loc="upper right", fontsize=7)
        _save(figure, folder / "learning_curve.png")


def _scatters(
    parts: Mapping[str, BoolArray], log_measured: FloatArray, log_predicted: FloatArray, columns: int, size: float
) -> Figure:
    """Predicted against measured time per sample, a panel each; guides at equality and at twice and half."""
    from matplotlib.ticker import LogLocator, NullLocator

    columns = min(columns, len(parts))
    figure, panels = _panels(-(-len(parts) // columns), columns, size, size)
    for axes, (name, members) in zip(panels, parts.items(), strict=False):
        rows = members & np.isfinite(log_predicted) & np.isfinite(log_measured)
        axes.set_title(name)
        if not rows.any():
            axes.set_visible(False)
            continue
        measured, predicted = np.exp(log_measured[rows]), np.exp(log_predicted[rows])
        low, high = np.quantile(np.concatenate([measured, predicted]), [0.0005, 0.9995]) * (0.7, 1.4)
        for factor, style in ((1.0, "-"), (2.0, ":"), (0.5, ":")):
            axes.plot([low, high], [low * factor, high * factor], style, color=GUIDE, linewidth=0.8)
        axes.plot(measured, predicted, ".", markersize=3, alpha=min(1.0, 0.1 + 60.0 / rows.sum()), color=COLD, mew=0)
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(numticks=5))
            axis.set_minor_locator(NullLocator())
        ape = np.median(np.abs(np.expm1(log_predicted[rows] - log_measured[rows])))
        axes.text(
            0.04,
            0.97,
            f"median APE {ape:.0%}\nof {rows.sum():,} rows",
            transform=axes.transAxes,
            va="top",
            fontsize=8,
        )
    for axes in panels[len(parts) :]:
        axes.set_visible(False)
    figure.supxlabel("measured, seconds per sample")
    figure.supylabel("predicted without the lineage, seconds per sample")
    return figure


def _reliability(report: Mapping[str, Any]) -> Figure:
    """Nominal against observed coverage, cold and warm, a panel a class; every source weighs the same."""
    figure, panels = _panels(1, len(CLASSES), 3.4, 3.4)
    for axes, name in zip(panels, CLASSES, strict=True):
        axes.plot([0, 1], [0, 1], color=GUIDE, linewidth=0.8)
        axes.axvline(0.8, color=GUIDE, linewidth=0.8, linestyle=":")
        for label, points, colour in (
            ("cold", report["reliability"][name], COLD),
            (f"warm, {report['warm']['rows_learned']} own rows", report["warm"]["reliability"][name], WARM),
        ):
            if points:
                nominal, observed = ([point[key] for point in points] for key in ("nominal", "observed"))
                axes.plot(nominal, observed, "o-", markersize=4, color=colour, label=label)
        axes.set(title=TITLES[name], xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set(xlabel="nominal coverage of the interval", ylabel="observed coverage")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:.0%}")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right")
    return figure


def _sources(scores: Mapping[str, Mapping[str, Any]], least_rows: int) -> Figure:
    """Mean APE of every source beside the rule of thumb's, best on top, a panel a class."""
    by_class = {
        name: sorted(
            (source for source, entry in scores.items() if entry["class"] == name and entry["n"] >= least_rows),
            key=lambda source: scores[source]["mape"],
        )
        for name in CLASSES
    }
    tallest = max(1, *(len(names) for names in by_class.values()))
    figure, panels = _panels(1, len(CLASSES), 5.2, 0.9 + 0.21 * tallest)
    for axes, (name, sources) in zip(panels, by_class.items(), strict=True):
        place = np.arange(len(sources))
        for key, label, colour, shift in (
            ("mape", "Traincast, lineage held out", COLD, -0.2),
            ("rule_of_thumb_mape", "rule of thumb, 6 N D at 40 %", RULE, 0.2),
        ):
            values = np.array([scores[source][key] for source in sources], dtype=np.float64)
            axes.barh(place + shift, np.minimum(values, CLIPPED_AT), 0.38, color=colour, label=label)
            for at, value in zip(place, values, strict=True):
                if value > CLIPPED_AT:
                    axes.text(CLIPPED_AT * 1.01, at + shift, f"{value:.0%}", va="center", fontsize=6.5, color=GUIDE)
        axes.set_yticks(place, sources, fontsize=7.5)
        axes.set(title=TITLES[name], xlabel="mean APE of the time per sample", xlim=(0, CLIPPED_AT))
        axes.set_ylim(tallest - 0.4, -0.6)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.grid(visible=False, axis="y")
    panels[0].legend(loc="lower right")
    return figure


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib import pyplot as plt

    size = (width * columns, height * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    return figure, list(grid.ravel())


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(STYLE):
        yield


def _save(figure: Figure, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.savefig(path)
    plt.close(figure)
