"""What a machine's own tools print, and what makes a run no measurement."""

import dataclasses

import pytest

from service.bench import machine
from service.bench.workloads import ALL, DECODERS, NAMES, chosen

QUIET = machine.Moment(load_per_core=0.02, processor_throttles=3, chip_throttled=(), others_on_chip=0)
TOPOLOGY = """\
\tGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity
GPU0\t X \tNV18\tPXB\t0-55\t0
GPU1\tNV18\t X \tSYS\t0-55\t0
NIC0\tPXB\tSYS\t X \t\t
"""


@pytest.mark.parametrize(
    ("before", "after", "spread", "says"),
    [
        ({}, {}, 0.2, "spread by 20.0%"),
        ({"load_per_core": 0.9}, {}, 0.01, "load 0.90"),
        ({}, {"processor_throttles": 4}, 0.01, "for heat"),
        ({}, {"chip_throttled": ("hw_thermal_slowdown",)}, 0.01, "hw_thermal_slowdown"),
        ({"others_on_chip": 1}, {}, 0.01, "other processes"),
    ],
)
def test_what_makes_a_run_unsteady_is_said(
    before: dict[str, object], after: dict[str, object], spread: float, says: str
) -> None:
    reasons = machine.unsteady(
        "cuda", dataclasses.replace(QUIET, **before), dataclasses.replace(QUIET, **after), spread  # type: ignore[arg-type]
    )  # fmt: skip
    assert len(reasons) == 1
    assert says in reasons[0]


def test_a_quiet_machine_is_steady_whatever_it_does_itself() -> None:
    # Its own load is no reason: only what was there before the run is.
    assert machine.unsteady("cuda", QUIET, dataclasses.replace(QUIET, load_per_core=1.0), 0.01) == []


def test_what_nvidia_smi_prints_is_read() -> None:
    assert machine.throttled("Not Active, Not Active, Not Active\n") == ()
    assert machine.throttled("Not Active, Not Active, Not Active\nActive, Not Active, Active\n") == (
        "hw_thermal_slowdown",
        "sw_thermal_slowdown",
    )
    assert machine.throttled("[N/A], [N/A], [N/A]\n") == ()
    assert machine.others("4711\n12\n12\n", own=4711) == 1
    assert machine.others("No running processes found\n", own=4711) == 0
    assert machine.links(TOPOLOGY) == "NVLink (18 links)"
    assert machine.links(TOPOLOGY.replace("NV18", "PHB")) == "PCIe"
    assert machine.links("GPU0\t X \t0-15\n") == ""


def test_a_hypervisor_is_seen() -> None:
    assert machine.is_virtual("flags\t\t: fpu vme hypervisor lahf_lm\n")
    assert not machine.is_virtual("flags\t\t: fpu vme lahf_lm\n")


def test_a_chip_gets_the_largest_model_that_it_trains() -> None:
    assert chosen("decoder", None) == DECODERS[0]
    assert chosen("decoder", 16.0).name == "decoder-350m"
    assert chosen("decoder", 80.0).name == "decoder-2.7b"
    assert chosen("encoder", 80.0).name == "encoder-340m"
    with pytest.raises(ValueError, match="resnet-50"):
        chosen("resnet", 80.0)
    assert set(ALL) < set(NAMES)
