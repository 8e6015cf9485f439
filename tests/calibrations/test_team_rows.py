"""Rows of teams in a fit: whose they are is the server's to say, not theirs."""

from service.calibrations.repository import FittedRow
from service.calibrations.team_rows import measured_rows, refining_rows
from service.catalog.catalog import load_catalog

RUN = {
    "model.name": "resnet-50",
    "hardware.accelerator": "V100-SXM2-16GB",
    "hardware.count": 8,
    "training.precision": "fp16",
    "training.global_batch": 2048,
    "result.value": 10_000.0,
    "result.unit": "samples_per_second",
}


def test_a_team_is_one_lineage_under_whatever_source_names_it_submits() -> None:
    rows = [
        FittedRow(f"m_{number}", RUN | {"provenance.source": source}, "t_1", "here")
        for number, source in enumerate(("mlperf-training-v4.0", "nvidia-dle", "brand-new"))
    ]
    table = measured_rows(rows, load_catalog()).table
    assert set(table.text("lineage").tolist()) == {"team:t_1"}
    assert len(set(table.text("site").tolist())) == 1


def test_what_ships_keeps_its_lineage_beside_them() -> None:
    shipped = FittedRow("m_a", RUN | {"provenance.source": "mlperf-training-v4.0"}, None, None)
    submitted = FittedRow("m_b", RUN, "t_1", "here")
    data = measured_rows([shipped, submitted], load_catalog())
    assert data.table.text("lineage").tolist() == ["mlperf", "team:t_1"]
    assert data.ids.tolist() == ["m_a", "m_b"]


def test_what_a_team_calls_its_sites_is_not_carried_by_calibrations() -> None:
    rows = [FittedRow(f"m_{site}", RUN, "t_1", site) for site in ("secret-cluster", "other-cluster")]
    sites = measured_rows(rows, load_catalog()).table.text("site").tolist()
    assert len(set(sites)) == 2
    assert not any("cluster" in site for site in sites)


def test_of_many_sites_every_team_has_its_turn() -> None:
    """One team has a hundred sites, ten teams have one each."""
    rows = [FittedRow(f"m_{site}", RUN, "t_large", f"site-{site}") for site in range(100)]
    rows += [FittedRow(f"m_small_{team}", RUN, f"t_{team}", "here") for team in range(10)]
    rows.append(FittedRow("m_shipped", RUN | {"provenance.source": "mlperf-training-v4.0"}, None, None))
    table = measured_rows(rows, load_catalog()).table
    lineages = table.text("lineage")[refining_rows(table, most_sites=20)].tolist()
    assert lineages.count("team:t_large") == 10
    assert set(lineages) == {"team:t_large", *(f"team:t_{team}" for team in range(10))}
    assert refining_rows(table, most_sites=200).sum() == 110
