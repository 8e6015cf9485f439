"""`traincast bench`: measures this machine."""

from __future__ import annotations

import json
import shlex
import sys
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.words import LOCAL, Json, Key, Url, fail, service_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.bench.training import Timed, Variant
    from service.bench.workloads import Workload
    from service.callbacks.steady import Steady

USUAL = ("decoder", "encoder", "resnet-50", "lstm")
USUAL_SECONDS = 60.0
"""For each workload."""
QUICK_SECONDS = 80.0
"""For all workloads together; with building them it stays below two minutes."""
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
KERNELS = ("sdpa", "flash", "efficient", "math")


@dataclass
class Made:
    """A row and how steady it is."""

    workload: str
    row: dict[str, object]
    steady: Steady
    reasons: list[str]
    stored: Any = field(default=None)


def bench(
    workloads: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORKLOAD]...",
            help="decoder and encoder (the largest that fit), decoder-1.3b, encoder-110m, resnet-50, lstm, ... "
            "[default: decoder encoder resnet-50 lstm]",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Be done in two minutes.")] = False,
    seconds: Annotated[float | None, typer.Option(min=1, help="For each workload. [default: 60]")] = None,
    device: Annotated[str | None, typer.Option(help="cuda (ROCm too), xpu, mps, cpu. [default: the best]")] = None,
    accelerator: Annotated[
        str | None,
        typer.Option("--accelerator", "-a", help="What the chip is, where the machine's name for it is not it."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", "-p", help="fp32, tf32, bf16, fp16. [default: bf16 on a GPU that has it, else fp32]"
        ),
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="By torch.compile.")] = False,
    attention: Annotated[str, typer.Option(help="Kernel: sdpa (PyTorch's choice), flash, efficient, math.")] = "sdpa",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Samples of a step. [default: the largest power of two that fits]")
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Submit what is steady to a service.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Submit what is unsteady too; its notes say so.")] = False,
    visibility: Annotated[str, typer.Option(help="shared or team.")] = "shared",
    site: Annotated[str | None, typer.Option(help="Where it ran, a name within the team.")] = None,
    url: Url = LOCAL,
    key: Key = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, as `traincast import` takes it.")] = False,
    as_json: Json = False,
) -> None:
    """Measure training throughput on one chip of this machine, in PyTorch. Nothing is sent anywhere without --submit.

    With --submit it exits with 1 where a measurement is too unsteady (repeats that spread, others that compute, clocks
    lowered for heat) or is refused.

    Examples:

    - `traincast bench --quick`
    - `traincast bench decoder-1.3b -p bf16 --compile --attention flash --json`
    - `traincast bench resnet-50 --batch 128 --submit --url http://localhost:8000 --key KEY`
    """
    try:
        import torch
    except ImportError:
        fail("traincast bench needs PyTorch: pip install 'traincast[bench]', or make bench-torch")
    from service.bench import machine
    from service.bench.training import Variant
    from service.bench.workloads import chosen
    from service.callbacks import surroundings

    _one_of(attention, KERNELS, "--attention")
    _one_of(visibility, ("shared", "team"), "--visibility")
    if precision is not None:
        _one_of(precision, PRECISIONS, "--precision")
    if submit and not key:
        fail("--submit needs a key: --key or TRAINCAST_KEY")
    kind = device or surroundings.device_kind()
    _one_of(kind, ("cuda", "xpu", "mps", "cpu"), "--device")
    if kind != "cpu" and kind != surroundings.device_kind():
        fail(f"PyTorch finds no {kind} device here; it finds {surroundings.device_kind()}")
    has_bf16 = kind == "cuda" and torch.cuda.is_bf16_supported()
    variant = Variant(precision or ("bf16" if has_bf16 else "fp32"), compiled, attention, batch)
    memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9 if kind == "cuda" else None
    try:
        asked = [chosen(name, memory_gb) for name in workloads or USUAL]
    except ValueError as error:
        fail(str(error))
    name = accelerator or surroundings.accelerator_name(kind)
    slug = _slug(name, url if submit else None)
    if submit and slug is None:
        fail(
            f"the catalog has no {name!r}, and the service takes no rows of chips that it does not know; "
            "--accelerator names the chip"
        )
    length = seconds or (QUICK_SECONDS / len(asked) if quick else USUAL_SECONDS)
    versions = surroundings.versions(kind) | machine.about(kind)
    made = [_measured(workload, variant, kind, length, slug or name, versions) for workload in asked]
    if submit:
        _submit(made, url, key, force=force, visibility=visibility, site=site)
    _print(made, as_json=as_json, as_csv=as_csv)
    if submit and any(one.stored is None for one in made):
        raise typer.Exit(1)


def _measured(
    workload: Workload, variant: Variant, kind: str, seconds: float, accelerator: str, versions: dict[str, str]
) -> Made:
    from service.bench import machine, measurement
    from service.bench.training import time_training

    before = machine.look(kind)

    def timed(progress: Callable[[float], None]) -> Timed:
        return time_training(workload, variant, kind, seconds, progress)

    try:
        found = _with_progress(workload.name, timed)
    except RuntimeError as error:
        fail(f"{workload.name}: {str(error).splitlines()[0]}")
    reasons = machine.unsteady(kind, before, machine.look(kind), found.steady.spread)
    row = measurement.row(
        workload,
        accelerator=accelerator,
        batch=found.batch,
        precision=variant.precision,
        compiled=variant.compiled,
        attention=variant.attention,
        parameters=found.parameters,
        steady=found.steady,
        peak_memory_gb=found.peak_memory_gb,
        versions=versions,
        command=shlex.join(["traincast", "bench", workload.name, "--seconds", f"{seconds:g}", *_flags(variant)]),
        despite=reasons,
    )
    return Made(workload.name, row, found.steady, reasons)


def _flags(variant: Variant) -> list[str]:
    compiled = ["--compile"] if variant.compiled else []
    batch = ["--batch", str(variant.batch)] if variant.batch else []
    return ["-p", variant.precision, "--attention", variant.attention, *compiled, *batch]


def _with_progress(name: str, work: Callable[[Callable[[float], None]], Timed]) -> Timed:
    from rich.progress import Progress

    from service import rendering

    with Progress(console=rendering.console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=1.0)
        return work(lambda share: progress.update(task, completed=share))


def _slug(name: str, url: str | None) -> str | None:
    """The catalog's name of a chip: of the service's catalog, or of the one that ships; None if it has none."""
    if url is None:
        from service.catalog.catalog import load_catalog

        chip = load_catalog().accelerator(name)
        return None if chip is None else chip.slug
    from urllib.parse import quote

    from service.client import TraincastError

    with service_at(url, None) as service:
        try:
            return str(service.get(f"/v1/accelerators/{quote(name, safe='')}")["slug"])
        except TraincastError as error:
            if error.status == 404:
                return None
            raise


def _submit(made: list[Made], url: str, key: str | None, *, force: bool, visibility: str, site: str | None) -> None:
    """Submits what is steady, or all; says why of the rest."""
    from service.configuration import nest

    more: dict[str, Any] = {"visibility": visibility} | ({"site": site} if site else {})
    with service_at(url, key) as service:
        for one in made:
            if one.reasons and not force:
                print(f"{one.workload} is not submitted: {'; '.join(one.reasons)} (--force submits)", file=sys.stderr)
                continue
            one.stored = service.submit(**nest(one.row), **more, idempotency_key=str(uuid.uuid4()))


def _print(made: list[Made], *, as_json: bool, as_csv: bool) -> None:
    if as_csv:
        from service.codec import write_csv

        write_csv([one.row for one in made], sys.stdout)
        return
    if as_json:
        told = [
            {
                "measurement": one.row,
                "spread": one.steady.spread,
                "unsteady": one.reasons,
                "stored": one.stored.model_dump(mode="json", include={"id", "status", "status_reason"})
                if one.stored
                else None,
            }
            for one in made
        ]
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    from service import rendering

    rendering.console().print(rendering.benchmarks(made))


def _one_of(value: str, possible: tuple[str, ...], option: str) -> None:
    if value not in possible:
        raise typer.BadParameter(", ".join(possible), param_hint=option)
