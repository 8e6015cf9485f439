"""`traincast bench` on this machine's processor, with the real PyTorch."""

import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service.bench.workloads import ALL, Workload
from service.catalog.catalog import load_catalog
from service.catalog.resolve import resolve_table
from service.cli import app
from service.codec import read_rows
from service.engine.operations import parameter_count
from tests.conftest import Team

torch = pytest.importorskip("torch", reason="needs torch: make test-callbacks")

TINY = Workload("tiny", "decoder", 2, "adamw", 2, 32, 4, 64, 16)


def bench(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["bench", "encoder-11m", "--device", "cpu", "--batch", "1", *arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("name", ALL)
def test_a_model_has_the_weights_that_its_shape_is_said_to_have(name: str) -> None:
    from service.bench.models import build

    module = build(ALL[name], "meta")
    counted = sum(part.numel() for part in module.parameters())
    if (published := load_catalog().model(ALL[name].catalog_name)) is not None:
        assert counted == pytest.approx(published.parameters, rel=0.01)
        return
    fields = ALL[name].fields() | {"hardware.accelerator": "A100-SXM4-80GB"}
    table, _ = resolve_table([fields], load_catalog(), measured=True)
    assert counted == pytest.approx(parameter_count(table)[0], rel=0.03)


def test_resnet_50_is_the_published_one() -> None:
    from service.bench.models import resnet_50

    with torch.device("meta"):
        assert sum(part.numel() for part in resnet_50().parameters()) == 25_557_032


@pytest.mark.parametrize("workload", [TINY, ALL["resnet-50"]], ids=["decoder", "cnn"])
@pytest.mark.parametrize(("precision", "attention"), [("fp32", "sdpa"), ("bf16", "math")])
def test_a_model_learns_its_batch_by_heart(workload: Workload, precision: str, attention: str) -> None:
    from service.bench.training import Run, Variant

    torch.manual_seed(0)
    run = Run(workload, Variant(precision, attention=attention), "cpu", 2)
    for group in run.optimizer.param_groups:
        group["lr"] = 0.01
    first = run.module(*run.batch).item()
    for _ in range(3):
        run.step()
    assert run.module(*run.batch).item() < first


def test_it_prints_a_row_that_an_import_takes() -> None:
    (made,) = json.loads(bench("--seconds", "1", "--json", "-a", "Xeon-Platinum-8480").stdout)
    row = made["measurement"]
    assert row["hardware.accelerator"] == "Xeon-Platinum-8480"
    assert row["model.family"] == "encoder"
    assert row["training.global_batch"] == 1
    assert row["data.sequence_length"] == 128
    assert row["result.value"] > 0
    assert "traincast bench encoder-11m --seconds 1 -p fp32 --attention sdpa --batch 1" in row["provenance.notes"]
    assert made["stored"] is None
    text = bench("--seconds", "1", "--csv").stdout
    (read,) = read_rows(io.StringIO(text, newline=""), content="text/csv")
    assert read.error is None
    assert read.values is not None
    assert read.values["result.unit"] == "samples_per_second"


def test_what_is_unsteady_is_submitted_by_force_alone_and_says_so(ours: Team) -> None:
    to: Sequence[str] = ("--submit", "--url", str(ours.http.base_url), "--key", ours.key, "--seconds", "1", "--json")
    chip = ("-a", "Xeon-Platinum-8480", "--visibility", "team")
    forced: dict[str, Any] = json.loads(bench(*to, *chip, "--force").stdout)[0]
    stored = ours.http.get(f"/v1/measurements/{forced['stored']['id']}").json()
    assert stored["visibility"] == "team"
    assert stored["provenance"]["source"] == "traincast-bench"
    for reason in forced["unsteady"]:
        assert f"forced although {reason}" in stored["provenance"]["notes"]
    if forced["unsteady"]:
        refused = bench(*to, *chip, code=1)
        assert "not submitted" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--submit"], 1, "TRAINCAST_KEY"),
        (["--device", "tpu"], 2, "cuda"),
        (["--attention", "fast"], 2, "flash"),
        (["resnet"], 1, "resnet-50"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_runs(arguments: list[str], code: int, says: str) -> None:
    assert says in bench(*arguments, code=code).stderr


def test_a_chip_that_the_service_does_not_know_is_not_measured_for_it(ours: Team) -> None:
    to = ("--submit", "--url", str(ours.http.base_url), "--key", ours.key)
    assert "--accelerator" in bench(*to, "-a", "Abacus 3", code=1).stderr
