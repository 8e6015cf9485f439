"""What a request says of its links is taken as it says, or the answer says what was taken instead."""

import pytest

from service.catalog.catalog import load_catalog
from service.catalog.resolution import Resolved
from service.catalog.resolve import resolve_open, resolve_table


def resolved(text: str, chip: str = "A100-SXM4-80GB", count: int = 64, **more: object) -> Resolved:
    return resolve_open(
        {
            "model.name": "llama-2-7b",
            "hardware.accelerator": chip,
            "hardware.count": count,
            "hardware.per_node": 8,
            "hardware.interconnect": text,
            **more,
        },
        load_catalog(),
    )


@pytest.mark.parametrize(
    ("text", "intra", "inter"),
    [
        ("PCIe 4.0 x16", 31.5, 25),
        ("NVLink 1", 80, 25),
        ("NVLink-1; roce 100g", 80, 12.5),
        ("NVLink 3, IB FDR 4x port", 300, 6.8 / 8),
        ("NVLink; PCIe 4.0 x16; RoCE 200G", 300, 25),  # the slot is the host's
    ],
)
def test_names_of_the_catalog_are_taken_as_they_are(text: str, intra: float, inter: float) -> None:
    found = resolved(text)
    assert found.values["intra_gbs"] == intra
    assert found.values["inter_gbs"] == pytest.approx(inter)
    assert found.warnings == []


@pytest.mark.parametrize("chip", ["A100-SXM4-80GB", "A100-PCIe-40GB", "GB200-186GB", "RTX-3090", "MI300X-192GB"])
def test_what_was_assumed_can_be_stated_and_changes_nothing(chip: str) -> None:
    usual = resolved("", chip, 144)
    (links,) = [str(made.value) for made in usual.assumptions if made.field == "hardware.interconnect"]
    stated = resolved(links, chip, 144)
    for name in ("intra_gbs", "inter_gbs", "domain"):
        assert stated.values[name] == usual.values[name]
    assert stated.warnings == []


def test_one_port_of_a_node_is_shared_and_said() -> None:
    (shared,) = [made for made in resolved("IB FDR 4x port").assumptions if made.field.startswith("hardware.")]
    assert (shared.field, shared.value) == ("hardware.inter_node_gbs", 0.85)
    assert "one IB FDR 4x port for the 8 accelerators" in shared.reason


@pytest.mark.parametrize(
    ("text", "chip", "said"),
    [
        ("carrier pigeon", "A100-SXM4-80GB", "'carrier pigeon' is not understood; taken instead: NVLink 3 (300 GB/s)"),
        ("NVLink; carrier pigeon", "A100-SXM4-80GB", "DGX A100 node (8x HDR) (25 GB/s per accelerator) between nodes"),
        ("TCP", "H100-SXM5-80GB", "Did you mean GCP GPUDirect-TCPX"),
        ("PCIe", "A100-SXM4-80GB", "'PCIe': A100-SXM4-80GB is reckoned with NVLink 3"),
        ("NVLink; Ethernet", "A100-SXM4-80GB", "'ethernet' tells no rate"),
        ("PCIe 5.0 x16; RoCE 100G", "A100-PCIe-40GB", "'PCIe 5.0 x16': A100-PCIe-40GB is reckoned with PCIe 4.0 x16"),
        ("NVLink 5", "A100-SXM4-80GB", "taken as stated, 900 GB/s, though usual of A100-SXM4-80GB is NVLink 3"),
    ],
)
def test_what_is_taken_instead_is_said(text: str, chip: str, said: str) -> None:
    (warning,) = resolved(text, chip).warnings
    assert warning.startswith("hardware.interconnect ")
    assert said in warning


def test_what_a_source_says_is_read_as_before() -> None:
    row = {"model.name": "llama-2-7b", "hardware.accelerator": "A100-SXM4-80GB", "hardware.count": 8}
    table, (answer,) = resolve_table([{**row, "hardware.interconnect": "NVLink 1"}], load_catalog(), measured=True)
    assert isinstance(answer, Resolved)
    assert (table["intra_gbs"][0], answer.warnings) == (300, [])
