"""`make accuracy-full`: what `make accuracy` measures, and what takes longer; tables, figures and `full.json`.

chips: leave each data-centre accelerator out, and each architecture; models: leave each much-measured model out;
layers: what learns best what the mechanics leave; curve: error after so many own rows; repeats: each source's own
scatter beside its warm score; goodput: predicted against reported.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table as RichTable

from service.calibrations import accuracy
from service.calibrations.accuracy_figures import draw_curve
from service.calibrations.accuracy_tables import printer, read_report, score_table
from service.calibrations.fit import CALIBRATION, Calibrated, calibrate, load_shipped
from service.calibrations.goodput_check import published_shares, whole_runs
from service.calibrations.residual_layers import compare
from service.catalog.catalog import Catalog, load_catalog
from service.catalog.records import Accelerator
from service.engine.accuracy import CLASSES, LEAST_ROWS, mean_over, rule_of_thumb, score, source_classes
from service.engine.held_out import CURVE_ROWS, learning_curve, leave_levels_out
from service.engine.table import FloatArray, Table

PARTS = ("chips", "architectures", "models", "layers", "curve", "repeats", "goodput")
# Cards of desks and of games: their names, as parts of catalog slugs. Everything else with a full data sheet is of
# data centres.
DESK_NAMES = ("RTX", "GTX", "Quadro", "TITAN", "Radeon", "Vega", "PRO-W", "RX-", "Arc-")
CHIP_GOAL = 0.20  # mean APE on a chip that was never measured
MODEL_ROWS, MODEL_SOURCES = 50, 2


def main(words: list[str] | None = None) -> None:
    """Command line of the long report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/accuracy"), help="folder for what is written")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts only")
    arguments = parser.parse_args(words)
    console = printer()
    catalog = load_catalog()
    with console.status("fitting") as status:
        data = load_shipped(catalog)
        result = calibrate(data, progress=lambda stage, share: status.update(f"{stage} ({share:.0%})"))
    accuracy.write(result, arguments.output, read_report(CALIBRATION), console)
    full: dict[str, Any] = {}
    for part in arguments.only:
        with console.status(part):
            full[part] = study(part, result, catalog)
        for table in tables(part, full[part]):
            console.print(table)
        # After every part, so that a long night leaves something.
        (arguments.output / "full.json").write_text(json.dumps(full, indent=1))
    if "curve" in full:
        draw_curve(full["curve"], arguments.output)
    console.print(f"everything in {arguments.output}")


def study(part: str, result: Calibrated, catalog: Catalog, *, processes: int = 2) -> Any:
    """The findings of one of `PARTS`, as JSON."""
    timed = np.isfinite(result.measured.log_seconds)
    table, log_seconds = result.measured.table.take(timed), result.measured.log_seconds[timed]

    def without(column: str, names: Sequence[str]) -> dict[str, Any]:
        known, new = leave_levels_out(table, log_seconds, result.fitted, column, names, processes=processes)
        return levels(table, log_seconds, column, names, known, new)

    match part:
        case "chips":
            return without("accelerator", data_centre_chips(table, catalog))
        case "architectures":
            groups = table.text("chip_group")
            chips = data_centre_chips(table, catalog)
            return without("chip_group", sorted(set(groups[np.isin(table.text("accelerator"), chips)].tolist())))
        case "models":
            return without("model", much_measured_models(table))
        case "layers":
            return compare(table, log_seconds, result.held_out)
        case "curve":
            predicted = learning_curve(table, log_seconds, result.fitted, processes=processes)
            return curve(table, log_seconds, predicted)
        case "repeats":
            return repeats(result.forecaster.report)
        case "goodput":
            return {"published": published_shares(catalog), "whole_runs": whole_runs(catalog)}
        case _:
            raise ValueError(part)


def complete_data_sheet(chip: Accelerator) -> bool:
    """Whether a chip is of data centres and its sheet states a dense 16-bit peak, memory, bandwidth, link and TDP."""
    stated = (chip.memory_gb, chip.memory_bandwidth_gbs, chip.link_gbs_bidirectional, chip.tdp_w)
    half = np.isfinite(chip.fp16_tflops) or np.isfinite(chip.bf16_tflops)
    desk = any(name in chip.slug for name in DESK_NAMES)
    return bool(chip.kind in ("gpu", "asic") and half and np.isfinite(stated).all() and not desk)


def data_centre_chips(table: Table, catalog: Catalog) -> list[str]:
    """Chips with a complete data sheet and rows enough to judge, by slug."""
    slugs, counts = np.unique(table.text("accelerator").astype(str), return_counts=True)
    return [
        str(slug)
        for slug, count in zip(slugs, counts, strict=True)
        if count >= LEAST_ROWS and slug in catalog.accelerators and complete_data_sheet(catalog.accelerators[slug])
    ]


def much_measured_models(table: Table) -> list[str]:
    """Models with many rows from several sources."""
    models, sites = table.text("model").astype(str), table.text("site").astype(str)
    names, counts = np.unique(models, return_counts=True)
    return [
        str(name)
        for name, count in zip(names, counts, strict=True)
        if name and count >= MODEL_ROWS and len(np.unique(sites[models == name])) >= MODEL_SOURCES
    ]


def levels(
    table: Table, log_seconds: FloatArray, column: str, names: Sequence[str], known: FloatArray, new: FloatArray
) -> dict[str, Any]:
    """Scores by level left out, means over its sources: at their known site, as a new site, by the rule of thumb."""
    sites, thumb = table.text("site").astype(str), rule_of_thumb(table)
    found: dict[str, Any] = {}
    for name in names:
        inside = np.asarray(table.text(column) == name, dtype=bool)
        entry: dict[str, Any] = {}
        for title, predicted in (("known_site", known), ("new_site", new), ("rule_of_thumb", thumb)):
            own = [inside & (sites == site) for site in np.unique(sites[inside])]
            mean = mean_over([score(predicted[mask], log_seconds[mask]) for mask in own])
            entry |= {"sources": mean["sources"], "rows": mean["rows"]}
            entry |= {f"{title}_mape": mean["mape"], f"{title}_median_ape": mean["median_ape"]}
        found[name] = entry
    shares = [key for key in next(iter(found.values()), {}) if key.endswith("ape")]
    mean_of_all = {key: round(float(np.mean([entry[key] for entry in found.values()])), 4) for key in shares}
    return {"mean": {"levels": len(found), **mean_of_all}, "by_level": found}


def curve(table: Table, log_seconds: FloatArray, predicted: FloatArray) -> dict[str, Any]:
    """Class -> own rows learned -> averages over sources; `predicted` is that of `held_out.learning_curve`."""
    sites, classes = table.text("site").astype(str), source_classes(table)
    scored = np.isfinite(predicted).all(axis=0)
    judged = [str(site) for site in np.unique(sites[scored]) if (scored & (sites == site)).sum() >= LEAST_ROWS]

    def mean(name: str, column: FloatArray) -> dict[str, Any]:
        own = [scored & (sites == site) for site in judged if classes[site] == name]
        return mean_over([score(column[mask], log_seconds[mask]) for mask in own])

    return {
        name: {str(count): mean(name, column) for count, column in zip(CURVE_ROWS, predicted, strict=True)}
        for name in CLASSES
    }


def repeats(report: dict[str, Any]) -> dict[str, Any]:
    """By source: the scatter of its own repeats, its warm score, and the goal; and how many reach it."""
    warm, scatter = report["warm"]["by_source"], report["repeat_scatter"]
    found = {
        name: {
            "class": warm[name]["class"],
            "groups": scatter.get(name, {}).get("groups", 0),
            "repeat_scatter": warm[name]["repeat_scatter"],
            "warm_mape": warm[name]["mape"],
            "warm_median_ape": warm[name]["median_ape"],
            "goal": warm[name]["goal"],
        }
        for name in sorted(warm, key=lambda name: warm[name]["mape"])
    }
    reached = {name: sum(entry["warm_mape"] <= entry["goal"] for entry in found.values() if entry["class"] == name)
               for name in CLASSES}  # fmt: skip
    return {"reached": reached, "by_source": found}


def tables(part: str, found: Any) -> list[RichTable]:
    """The findings of one part for the terminal."""
    match part:
        case "chips" | "architectures" | "models":
            goal = f", goal {CHIP_GOAL:.0%}" if part == "chips" else ""
            rows = {"mean": found["mean"], **found["by_level"]}
            return [score_table(f"Leaving {part} out one at a time (means over sources){goal}", rows)]
        case "layers":
            rows = {f"{layer}: {name}": entry for layer, entries in found.items() for name, entry in entries.items()}
            shown = ("sources", "mape", "median_source_mape", "median_ape")
            return [score_table("What learns what the mechanics leave", rows, shown)]
        case "curve":
            rows = {f"{name}, {count} rows": entry for name, points in found.items() for count, entry in points.items()}
            return [score_table("Error after learning own rows", rows, ("sources", "mape", "median_ape"))]
        case "repeats":
            return [score_table(f"A source's own scatter beside its warm score; goal reached: {found['reached']}",
                           found["by_source"])]  # fmt: skip
        case _:
            published = {
                entry["run"][:60]: {
                    **entry,
                    **{f"predicted {side}": share for side, share in entry["predicted"].items()},
                }
                for entry in found["published"]
            }
            runs = {f"{entry['source']}: {entry['model']}": entry for entry in found["whole_runs"]}
            first = (
                "accelerators",
                "days",
                "reported",
                "predicted p10",
                "predicted p50",
                "predicted p90",
                "also_input",
            )
            second = ("runs", "hours", "reported", "predicted", "wall_mape")
            return [
                score_table(f"Published goodput (n = {len(published)})", published, first),
                score_table("Whole runs whose step speed the same source measured", runs, second),
            ]


if __name__ == "__main__":
    main()
