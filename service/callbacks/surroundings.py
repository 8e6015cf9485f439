"""What the machine and the PyTorch that is already loaded say of where a run takes place."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")


def loaded_torch() -> Any:
    """PyTorch if this process has imported it, else None: a training job that uses it has."""
    return sys.modules.get("torch")


def device_kind() -> str:
    """What this process trains on, as far as can be told: cuda (ROCm too), xpu, mps or cpu."""
    torch = loaded_torch()
    if torch is None:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        return "xpu"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def accelerator_name(kind: str) -> str:
    """What the driver calls the chip, or the system its processor: `NVIDIA A100-SXM4-80GB`, `2x AMD EPYC 7742`.

    Args:
        kind: One of `device_kind`.
    """
    torch = loaded_torch()
    if kind == "cuda":
        return str(torch.cuda.get_device_name())
    if kind == "xpu":
        return str(torch.xpu.get_device_name())
    return processor_name(_processor_text())


def processor_name(text: str) -> str:
    """The processor as the catalog spells it: without clock, core count and marks; `2x ` before it for two sockets.

    Args:
        text: What `/proc/cpuinfo` says, or the processor's name alone.
    """
    stated = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = stated.group(1) if stated else text.strip()
    name = re.sub(r"\((?:R|TM|r|tm)\)|\bCPU\b|@.*$|\b\d+-Core\b|\bProcessor\b|\bwith\b.*$", " ", name)
    sockets = len(set(re.findall(r"^physical id\s*:\s*(\d+)$", text, re.MULTILINE)))
    return (f"{sockets}x " if sockets > 1 else "") + " ".join(name.split())


def hardware(kind: str, environment: Mapping[str, str] = os.environ) -> dict[str, object]:
    """The `hardware` fields of this process's job: chip, how many, how many in one machine.

    Processes that train on processors share them: there the machine is what is counted.

    Args:
        kind: One of `device_kind`.
        environment: Where launchers (torchrun, accelerate, Slurm's wrappers) leave WORLD_SIZE and LOCAL_WORLD_SIZE.
    """
    world, local = world_size(environment), local_world_size(environment)
    fields: dict[str, object] = {"accelerator": accelerator_name(kind)}
    if kind == "cpu":
        return fields | {"count": max(1, world // local), "per_node": 1}
    return fields | {"count": world, "per_node": min(local, world)}


def world_size(environment: Mapping[str, str] = os.environ) -> int:
    """Processes of the job."""
    torch = loaded_torch()
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    return _count(environment.get("WORLD_SIZE"))


def local_world_size(environment: Mapping[str, str] = os.environ) -> int:
    """Processes of the job on this machine."""
    return _count(environment.get("LOCAL_WORLD_SIZE"))


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the process that speaks for the job."""
    torch = loaded_torch()
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return bool(torch.distributed.get_rank() == 0)
    return environment.get("RANK", "0") == "0"


def synchroniser(kind: str) -> Callable[[], None] | None:
    """Waits until the accelerator has done what it was given; None where nothing runs beside the process."""
    torch = loaded_torch()
    if kind == "cpu" or torch is None:
        return None
    return {"cuda": torch.cuda, "xpu": getattr(torch, "xpu", None), "mps": torch.mps}[kind].synchronize  # type: ignore[no-any-return]


def peak_memory_gb(kind: str) -> float | None:
    """Most memory that PyTorch took from the chip for this process, GB (10^9 bytes); None where it does not count it.

    What the allocator reserved, for that much must be free; the driver's own context comes on top.
    """
    torch = loaded_torch()
    if kind not in ("cuda", "xpu"):
        return None
    reserved = (torch.cuda if kind == "cuda" else torch.xpu).max_memory_reserved()
    return float(reserved) / 1e9 if reserved else None


def versions(kind: str) -> dict[str, str]:
    """Versions that decide speed beside the framework's: PyTorch, CUDA or ROCm, cuDNN."""
    torch = loaded_torch()
    if torch is None:
        return {"Python": platform.python_version()}
    found: dict[str, object] = {"PyTorch": torch.__version__}
    if kind == "cuda":
        found |= {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
        found |= {"cuDNN": torch.backends.cudnn.version() if torch.version.cuda else None}
    return {name: str(version) for name, version in found.items() if version}


def _processor_text() -> str:
    if CPU_INFO.exists():
        return CPU_INFO.read_text(encoding="utf-8", errors="replace")
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    return platform.processor() or platform.machine()


def _count(text: str | None) -> int:
    return max(1, int(text)) if text and text.isdigit() else 1
