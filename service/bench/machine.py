"""What the machine says of itself: driver, links, and whether anything else makes its speed unsteady."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

LARGEST_SPREAD = 0.05
"""Standard deviation over median of a benchmark's repeats that is still a measurement. Judgement: repeats of a steady
loop on a machine of one's own lie within 1 to 2 %."""
LARGEST_LOAD = 0.2
"""Load average over cores before the benchmark starts: above it, others are computing. Judgement."""
_THROTTLING = ("hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
"""Reasons to lower clocks that mean trouble; a power cap (`sw_power_cap`) is how such chips run."""
_THROTTLE_COUNTS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, slots=True)
class Moment:
    """The machine before or after a run."""

    load_per_core: float | None
    processor_throttles: int
    """Times that the processors have been too hot since the system started."""
    chip_throttled: tuple[str, ...]
    others_on_chip: int
    """Other processes that compute on the chip."""


def look(kind: str) -> Moment:
    """The machine now.

    Args:
        kind: What is measured, one of `surroundings.device_kind`.
    """
    load = os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else None
    counts = _THROTTLE_COUNTS.glob("cpu*/thermal_throttle/package_throttle_count")
    throttles = sum(int(path.read_text()) for path in counts)
    if kind != "cuda":
        return Moment(load, throttles, (), 0)
    reasons = _asked("nvidia-smi", "--query-gpu=" + ",".join(f"clocks_throttle_reasons.{name}" for name in _THROTTLING))
    processes = _asked("nvidia-smi", "--query-compute-apps=pid")
    return Moment(load, throttles, throttled(reasons), others(processes, os.getpid()))


def throttled(answer: str) -> tuple[str, ...]:
    """Reasons that are active for any chip.

    Args:
        answer: Of nvidia-smi, a line a chip, `Active` or `Not Active` for each of `_THROTTLING`.
    """
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line.strip()]
    return tuple(
        name for index, name in enumerate(_THROTTLING) if any(row[index : index + 1] == ["Active"] for row in rows)
    )


def others(answer: str, own: int) -> int:
    """How many processes beside this one compute on the chips.

    Args:
        answer: Of nvidia-smi, a process id a line.
        own: This process.
    """
    return len({int(line) for line in answer.split() if line.isdigit()} - {own})


def unsteady(kind: str, before: Moment, after: Moment, spread: float) -> list[str]:
    """Why a run is no measurement; empty if it is one.

    Args:
        kind: What was measured.
        before: The machine as it was.
        after: The machine as it is.
        spread: Standard deviation over median of the repeats.
    """
    reasons = []
    if spread > LARGEST_SPREAD:
        reasons.append(f"repeats spread by {spread:.1%}, more than {LARGEST_SPREAD:.0%}")
    if before.load_per_core is not None and before.load_per_core > LARGEST_LOAD:
        reasons.append(f"others were computing: load {before.load_per_core:.2f} a core, more than {LARGEST_LOAD:g}")
    if after.processor_throttles > before.processor_throttles:
        reasons.append("the processor lowered its clock for heat")
    reasons += [f"the chip lowered its clock: {name}" for name in after.chip_throttled]
    if before.others_on_chip or after.others_on_chip:
        reasons.append("other processes compute on the chip")
    if kind == "cpu" and is_virtual(_text(Path("/proc/cpuinfo"))):
        reasons.append("a virtual machine shares its processor with others")
    return reasons


def is_virtual(processor: str) -> bool:
    """Whether `/proc/cpuinfo` tells of a hypervisor underneath."""
    return re.search(r"^flags\s*:.*\bhypervisor\b", processor, re.MULTILINE) is not None


def about(kind: str) -> dict[str, str]:
    """Driver and links, by name; what cannot be told is left out."""
    if kind != "cuda":
        return {}
    drivers = {line.strip() for line in _asked("nvidia-smi", "--query-gpu=driver_version").splitlines()}
    found = {"driver": ", ".join(sorted(drivers)), "links": links(_run("nvidia-smi", "topo", "-m"))}
    if not found["driver"]:
        found["driver"] = _text(Path("/sys/module/amdgpu/version")).strip()
    return {name: text for name, text in found.items() if text}


def links(matrix: str) -> str:
    """What joins the first chip to the others: `NVLink (18 links)`, `PCIe`, nothing where there is one chip.

    Args:
        matrix: Of `nvidia-smi topo -m`.
    """
    row = re.search(r"^GPU0\s+(.*)$", matrix, re.MULTILINE)
    cells = row.group(1).split() if row else []
    bonded = [int(cell[2:]) for cell in cells if re.fullmatch(r"NV\d+", cell)]
    if bonded:
        return f"NVLink ({max(bonded)} links)"
    chips = len(set(re.findall(r"^GPU\d+", matrix, re.MULTILINE)))
    return "PCIe" if chips > 1 and any(cell in ("PIX", "PXB", "PHB", "NODE", "SYS") for cell in cells) else ""


def _asked(program: str, query: str) -> str:
    return _run(program, query, "--format=csv,noheader")


def _run(*command: str) -> str:
    """What a program prints; nothing where it is not there or fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (subprocess.SubprocessError, OSError):
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
