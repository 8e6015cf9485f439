"""The `traincast` command: what it prints, where, and how it exits."""

import csv
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service.catalog.records import DATA
from service.cli import app
from service.codec import read_rows
from service.settings import get_settings
from tests.conftest import Databases

MEASURED = DATA / "measurements" / "megatron-sc21-paper.csv"
SCORE = {
    "n", "mape", "median_ape", "bias", "coverage_80", "median_interval_ratio", "memory_n", "memory_mape",
    "memory_fit_share",
}  # fmt: skip
GPT3 = shlex.split(
    "estimate -m gpt-3-175b -a V100-SXM2-32GB -n 1024 --tokens 300e9 -s 2048 -p fp16 --global-batch 1536"
)


def traincast(*arguments: str, code: int = 0, stdin: str | None = None, env: dict[str, str] | None = None) -> Result:
    result = CliRunner(env=env).invoke(app, list(arguments), input=stdin)
    assert result.exit_code == code, result.output
    return result


def printed(*arguments: str, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(traincast(*arguments, **more).stdout)
    return body


@pytest.mark.parametrize(
    "command",
    [
        "serve", "estimate", "plan", "sweep", "offers", "levers", "evaluate", "calibrate", "bench", "submit", "import",
        "export", "mcp", "migrate", "seed", "openapi", "keys create", "keys list", "keys revoke",
    ],
)  # fmt: skip
def test_every_command_explains_itself_by_an_example(command: str) -> None:
    assert command.split()[0] in traincast("--help").stdout
    explained = " ".join(traincast(*command.split(), "--help", env={"COLUMNS": "200"}).stdout.split())
    usage, _, rest = explained.partition("Options")
    assert f"traincast {command}" in usage.partition("Example")[2], rest


def test_exit_codes_are_told() -> None:
    assert "Exit codes: 0 done" in traincast("--help").stdout


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_shows_colours_unless_told_otherwise(no_color: str, coloured: bool) -> None:
    command = [sys.executable, "-c", "from service.cli import main; main()", "estimate", "no-such-file.json"]
    ours, theirs = os.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    subprocess.run(command, env=environment, stdout=theirs, stderr=theirs, check=False)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "no-such-file.json" in shown
    assert ("\x1b[" in shown) == coloured


def test_help_loads_neither_the_engine_nor_the_server() -> None:
    heavy = ("numpy", "scipy", "pydantic", "fastapi", "sqlalchemy", "uvicorn", "httpx")
    code = f"import sys, service.cli; print([name for name in {heavy!r} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_an_estimate_is_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    told = traincast(*GPT3).stdout
    for word in ("duration", "days", "cost, USD", "MFU", "peak memory, GB of 32", "assumed", "layout", "calibration"):
        assert word in told
    assert "\x1b[" not in told


def test_some_members_of_an_estimate_are_printed_alone_here_and_from_a_service(service_url: str) -> None:
    asked = (*GPT3, "--fields", "duration_hours,memory.fits")
    here = printed(*asked)
    assert set(here) == {"duration_hours", "memory"}
    assert here == printed(*asked, "--url", service_url)
    assert "duration_hours" in traincast(*GPT3, "--fields", "duration_hour", code=1).stderr


def test_levers_are_readable_and_the_same_from_a_service(service_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    asked = ("levers", "-m", "resnet-50", "--dataset", "imagenet-1k", "--epochs", "90", "-a", "T4", "-p", "fp16")
    told = traincast(*asked, "--set", "assume.kept_fraction=0.5").stdout
    for word in ("speed-up", "better-data", "assume.kept_fraction", "more-accelerators-x2", "hardware.count = 2"):
        assert word in told
    there = printed(*asked, "--json", "--url", service_url)
    assert all(lever["name"] in told for lever in there["levers"])
    refused = traincast(*asked, "--set", "assume.kept_fraction=2", code=1)
    assert "assume.kept_fraction" in refused.output


def test_flags_a_file_and_standard_input_ask_the_same(tmp_path: Path) -> None:
    request = {
        "model": {"name": "gpt-3-175b"},
        "data": {"tokens": 300e9, "sequence_length": 2048},
        "hardware": {"accelerator": "V100-SXM2-32GB", "count": 1024},
        "training": {"precision": "fp16", "global_batch": 1536},
    }
    file = tmp_path / "run.json"
    file.write_text(json.dumps(request))
    by_flags = printed(*GPT3, "--json")
    assert printed("estimate", str(file), "--json") == by_flags
    assert printed("estimate", "-", "--json", stdin=json.dumps(request)) == by_flags


def test_flags_and_settings_change_a_file(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"model": {"name": "llama-2-7b"}, "hardware": {"accelerator": "A100-SXM4-80GB"}}))
    changed = printed("estimate", str(file), "--count", "16", "--set", "training.tensor_parallel=2", "--json")
    assert changed["layout"]["tensor_parallel"] == 2
    assert changed["layout"]["data_parallel"] == 8


def test_a_remote_service_answers_as_the_local_engine_does(service_url: str) -> None:
    assert printed(*GPT3, "--json", "--url", service_url) == printed(*GPT3, "--json")


def test_a_sweep_is_readable_and_the_service_answers_as_the_local_engine_does(service_url: str) -> None:
    asked = ["sweep", "-m", "resnet-50", "-a", "T4", "--vary", "hardware.count=1,2,4", "--vary"]
    ranged = [*asked, 'training.micro_batch={"start": 32, "stop": 64, "scale": "log2"}']
    assert printed(*ranged, "--json", "--url", service_url) == printed(*ranged, "--json")
    shown = traincast(*asked, "training.precision=fp16,fp7").stdout
    assert "training.precision = fp16" in shown
    assert "efficiency" in shown
    assert "fp7" in shown


def test_offers_are_readable_and_the_service_answers_as_the_local_engine_does(service_url: str) -> None:
    asked = ["offers", "-m", "llama-3-8b", "-a", "H100-SXM5-80GB", "-n", "8", "--tokens", "1e9"]
    found = printed(*asked, "--json")
    assert printed(*asked, "--json", "--url", service_url) == found
    assert str(found["offers"][0]["provider"]) in traincast(*asked).stdout


PLAN = shlex.split("plan -m llama-2-7b --tokens 1e9 -s 4096 -a A100-SXM4-80GB -a T4 -n 8 -n 16 --global-batch 64")


def test_plans_are_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    told = traincast(*PLAN).stdout
    for word in ("16 A100-SXM4-80GB", "duration", "80 %", "cost, USD", "fits", "data", "assumed", "does not fit"):
        assert word in told
    assert "would work with deadline_hours" in traincast(*PLAN, "--deadline", "0.1").stdout


def test_plans_are_the_same_here_and_at_a_service(service_url: str) -> None:
    here = printed(*PLAN, "--objective", "cost", "--limit", "2", "--json")
    assert len(here["plans"]) == 2
    assert printed(*PLAN, "--objective", "cost", "--limit", "2", "--json", "--url", service_url) == here


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["estimate", "-m", "gpt-3-175b", "-a", "H1000"], "H100"),
        (["plan", "-m", "llama-2-7b", "-a", "H1000"], "H100"),
        (["plan", "-m", "llama-2-7b", "-a", "T4"], "data.tokens"),
        (["plan", "-m", "llama-2-7b"], "hardware"),
        (["estimate", "-m", "gpt-3-175b"], "hardware"),
        (["estimate"], "flags"),
        (["estimate", "no-such-file.json"], "no-such-file.json"),
        (["estimate", "-m", "bert-large", "-a", "T4", "--set", "training.seq_len=1"], "sequence_length"),
        (["estimate", "-m", "bert-large", "-a", "T4", "--url", "http://127.0.0.1:9"], "cannot be reached"),
        (["sweep", "-m", "bert-large", "-a", "T4"], "--vary"),
        (["sweep", "-m", "bert-large", "-a", "T4", "--vary", "hardware.cuont=1"], "hardware.count"),
        (["offers", "-m", "bert-large", "-a", "T4"], "data.tokens"),
        (["evaluate", "no-such-file.csv"], "no-such-file.csv"),
        (["evaluate", str(MEASURED), "--by", "colour"], "colour"),
        (["export", "--where", "model.famly=rnn"], "model.family"),
    ],
)
def test_what_cannot_be_done_exits_with_1_and_says_why_on_standard_error(arguments: list[str], says: str) -> None:
    result = traincast(*arguments, code=1)
    assert says in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("option", ["--from-huggingface", "--from-megatron", "--from-deepspeed", "--from-torchtitan"])
@pytest.mark.parametrize(
    ("content", "says"),
    [(b"\xff\xfe\x00", "not text in UTF-8"), (b'{"a":' * 100_000, ""), (b"a = " + b"[" * 100_000, "")],
    ids=["binary", "deep JSON", "deep TOML"],
)
def test_a_file_that_nobody_can_read_is_refused_in_a_line(
    option: str, content: bytes, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    file.write_bytes(content)
    result = traincast("estimate", option, str(file), "-a", "T4", code=1)
    assert says in result.stderr
    assert str(file) in result.stderr


def test_measurements_in_another_encoding_are_refused_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "measured.csv"
    file.write_text("model.name\n", encoding="utf-16")
    result = traincast("evaluate", str(file), code=1)
    assert ("UTF-16" in result.stderr, result.stderr.count("\n")) == (True, 1)


@pytest.mark.parametrize(
    "arguments", [["fly"], ["estimate", "--count", "many"], ["estimate", "-a", "T4", "--set", "x"]]
)
def test_what_is_not_understood_exits_with_2(arguments: list[str]) -> None:
    traincast(*arguments, code=2)


def test_an_evaluation_has_the_agreed_shape() -> None:
    body = printed("evaluate", str(MEASURED), "--json")
    assert list(body) == ["rows", "scored", "skipped", "overall", "by"]
    assert body["rows"] == body["scored"] == 23
    assert set(body["overall"]) == SCORE
    assert set(body["by"]) == {"megatron-sc21-paper"}
    assert body["by"]["megatron-sc21-paper"] == body["overall"]


def test_an_evaluation_is_readable_and_warns_that_shipped_rows_flatter() -> None:
    told = traincast("evaluate", str(MEASURED), "--by", "hardware.count").stdout
    assert "MAPE" in told
    assert "23 of 23 rows scored" in told
    assert "in-sample" in told


def test_bad_rows_are_named_by_their_line(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(
        "model.name,hardware.accelerator,result.value,result.unit\n"
        "resnet-50,T4,200,samples_per_second\n"
        "resnet-50,H1000,200,samples_per_second\n"
        "resnet-50,T4,,samples_per_second\n"
    )
    body = printed("evaluate", str(file), "--json")
    assert (body["rows"], body["scored"]) == (3, 1)
    assert [skipped["row"] for skipped in body["skipped"]] == [3, 4]
    assert set(body["by"]) == {""}


@pytest.mark.parametrize(
    ("content", "skipped", "says"),
    [
        ("", [], "no row in the file"),
        ("model.name,hardware.accelerator,result.value,result.unit\nresnet-50,H1000,200,mfu\n", [2], "H1000"),
        ('[{"model": {"name": "resnet-50"}}]\n', [], "no row"),
    ],
    ids=["empty", "no row that can be read", "JSON"],
)
def test_where_nothing_is_scored_the_command_fails(content: str, skipped: list[int], says: str, tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(content)
    result = traincast("evaluate", str(file), "--json", code=1)
    assert "nothing was scored" in result.stderr
    assert says in result.stderr
    body = json.loads(result.stdout)
    assert (body["scored"], body["by"]) == (0, {})
    assert [row["row"] for row in body["skipped"]] == skipped
    assert body["overall"] == dict.fromkeys(SCORE) | {"n": 0, "memory_n": 0}


def test_predictions_are_written_beside_the_rows(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    traincast("evaluate", str(MEASURED), "--predictions", str(out))
    with MEASURED.open(newline="") as before, out.open(newline="") as after:
        measured, predicted = list(csv.DictReader(before)), list(csv.DictReader(after))
    assert len(predicted) == len(measured)
    for was, now in zip(measured, predicted, strict=True):
        assert {name: now[name] for name in was if name != "result.value"} == {
            name: value for name, value in was.items() if name != "result.value"
        }
        assert float(now["predicted.p10"]) < float(now["predicted.p50"]) < float(now["predicted.p90"])
        assert 0.1 < float(now["predicted.p50"]) / float(was["result.value"]) < 10
        assert now["predicted.grade"] in ("measured", "interpolated", "extrapolated")


def test_learned_rows_improve_the_rest_and_are_not_scored(tmp_path: Path) -> None:
    half = tmp_path / "half.csv"
    header, *rows = MEASURED.read_text().splitlines()
    half.write_text("\n".join([header, *rows[::2]]) + "\n")
    plain = printed("evaluate", str(MEASURED), "--json")
    learned = printed("evaluate", str(MEASURED), "--learn", str(half), "--json")
    assert learned["overall"]["mape"] < plain["overall"]["mape"]
    assert learned["scored"] + len(rows[::2]) == plain["scored"] == len(rows)


def test_evaluate_needs_no_database(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from service.cli import main; main()", "evaluate", str(MEASURED), "--json"]
    environment = os.environ | {
        "TRAINCAST_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "TRAINCAST_HOME": str(tmp_path),
    }
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["scored"] == 23
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def database(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with all that ships, which the command's settings point to."""
    url = databases.seeded()
    monkeypatch.setenv("TRAINCAST_DATABASE_URL", url)
    get_settings.cache_clear()
    return url


def test_an_export_is_read_back(database: str, tmp_path: Path) -> None:
    file = tmp_path / "rnn.csv"
    traincast("export", str(file), "--where", "model.family=rnn", "--where", "hardware.count.at_least=2")
    with file.open(newline="") as stream:
        rows = list(read_rows(stream, content="text/csv"))
    assert len(rows) > 10
    assert all(row.values and row.values["model.family"] == "rnn" for row in rows)
    lines = traincast("export", "--format", "ndjson", "--where", "source=megatron-sc21-paper").stdout.splitlines()
    assert len(lines) == 23
    assert json.loads(lines[0])["provenance"]["source"] == "megatron-sc21-paper"


# What the commands call prepares the databases of all other tests on both dialects.
@pytest.mark.slow_on("postgresql")
@pytest.mark.usefixtures("logging_restored")
def test_migrate_and_seed_prepare_a_database(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINCAST_DATABASE_URL", databases.empty())
    get_settings.cache_clear()
    traincast("migrate")
    assert traincast("export").stdout.count("\n") == 1
    traincast("seed")
    assert traincast("export", "--where", "source=megatron-sc21-paper").stdout.count("\n") == 24


def test_other_frameworks_files_are_taken_and_what_became_of_them_is_listed(tmp_path: Path) -> None:
    flags = tmp_path / "args.txt"
    flags.write_text(
        "--num-layers 32 --hidden-size 4096 --num-attention-heads 32 --seq-length 4096 --micro-batch-size 1\n"
        "--global-batch-size 128 --tensor-model-parallel-size 2 --bf16 --lr 1e-4 --vocab-size 32000\n"
    )
    asked = ("estimate", "--from-megatron", str(flags), "-a", "A100-SXM4-80GB", "-n", "8")
    body = printed(*asked, "--json")
    assert body["layout"]["tensor_parallel"] == 2
    (listed,) = body["launch_configs"]
    assert {"option": "--hidden-size", "field": "model.hidden_size", "value": 4096} in listed["understood"]
    assert [item["option"] for item in listed["ignored"]] == ["--lr"]
    changed = traincast(*asked, "--set", "training.tensor_parallel=4")
    assert "tensor_parallel 4" in changed.stdout
    assert "--hidden-size" in changed.stderr
    assert "--hidden-size" not in changed.stdout
    ours = tmp_path / "run.json"
    ours.write_text(json.dumps({"training": {"tensor_parallel": 1}}))
    assert printed("estimate", str(ours), *asked[1:], "--json")["layout"]["tensor_parallel"] == 1
    flags.write_text("nothing")
    assert "--from-megatron" in traincast(*asked, code=1).stderr
