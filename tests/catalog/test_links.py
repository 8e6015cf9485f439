"""Free text about wiring becomes two links with rates; silence becomes the chip's usual links, and says so."""

import csv
import math

import pytest

from service.catalog.catalog import DATA, load_catalog
from service.catalog.links import links, parse_interconnect

SAYS_NOTHING = {"custom; -"}


def spellings() -> list[str]:
    found: set[str] = set()
    for path in (DATA / "measurements").glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as stream:
            found.update(row.get("hardware.interconnect") or "" for row in csv.DictReader(stream))
    return sorted(found - {""})


def test_every_shipped_spelling_is_understood() -> None:
    texts = spellings()
    assert len(texts) > 150
    assert {text for text in texts if not parse_interconnect(text).understood} == SAYS_NOTHING


@pytest.mark.parametrize(
    ("text", "chip", "per_node", "intra", "inter"),
    [
        ("NVLINK 3.0, NVSWITCH 2.0 600GB/s; Compute: 4x ConnectX-6 IB HDR 200Gb/Sec", "A100-SXM4-80GB", 8, 300, 12.5),
        ("NVLink; 8x ConnectX-7 IB NDR 400Gb/Sec", "H100-SXM5-80GB", 8, 450, 50),
        ("1600 Gbps RoCE between nodes", "A100-SXM4-80GB", 8, 300, 25),
        ("DGX-A100, NVLink; 1.6 Tb/s InfiniBand", "A100-SXM4-40GB", 8, 300, 25),
        ("NVLink; EFA between nodes", "H100-SXM5-80GB", 8, 450, 50),
        ("NVLink; EFA between nodes", "A100-SXM4-40GB", 8, 300, 6.25),
        ("Azure ND40rs_v2, NVLink", "V100-SXM2-32GB", 8, 150, 1.5625),
        ("50 Gb/s Ethernet between nodes", "RTX-2080Ti", 8, 10, 0.78125),
        ("NVLink; InfiniBand 100 Gb/sec (4X EDR)", "V100-SXM3-32GB", 16, 150, 6.25),
        ("NVLink; 4x100Gb RoCE", "A100-SXM4-80GB", 8, 300, 6.25),
        ("NeuronLink-v2; EFA 800/1600 Gb/s per node", "Trainium1", 16, 192, 6.25),
        ("Gaudi RoCE", "Gaudi2", 8, 262.5, 37.5),
        ("NVLink bridges", "Quadro-RTX-8000", 2, 50, 6.25),
    ],
)
def test_rates_are_read(text: str, chip: str, per_node: float, intra: float, inter: float) -> None:
    catalog = load_catalog()
    found = links(text, None, catalog.accelerators[chip], per_node, 4 * per_node, catalog)
    assert found.intra_gbs == pytest.approx(intra)
    assert found.inter_gbs == pytest.approx(inter)


def test_bridges_join_pairs_only() -> None:
    catalog = load_catalog()
    four = links("NVLink bridges", None, catalog.accelerators["RTX-3090"], 4, 4, catalog)
    assert four.intra_name.startswith("PCIe")


@pytest.mark.parametrize(("chip", "slower"), [("RTX-3090", True), ("RTX-A6000", False), ("A100-PCIe-40GB", False)])
def test_eight_cards_without_peer_access_wait_for_the_link_between_processors(chip: str, slower: bool) -> None:
    catalog = load_catalog()
    four, eight = (links(None, None, catalog.accelerators[chip], 8, count, catalog) for count in (4, 8))
    assert (eight.intra_gbs < four.intra_gbs) == slower


def test_management_networks_do_not_carry_gradients() -> None:
    catalog = load_catalog()
    found = links(
        "NVLINK; Management: 1x Ethernet 10GB/Sec", None, catalog.accelerators["H100-SXM5-80GB"], 8, 64, catalog
    )
    assert found.inter_gbs == 50
    assert found.assumed


def test_a_given_rate_wins() -> None:
    catalog = load_catalog()
    found = links("NVLink; 8x 400Gb/s IB", 12.5, catalog.accelerators["H100-SXM5-80GB"], 8, 64, catalog)
    assert found.inter_gbs == 12.5
    assert not found.assumed


def test_silence_is_the_usual_and_says_so() -> None:
    catalog = load_catalog()
    h100 = catalog.accelerators["H100-SXM5-80GB"]
    assert links(None, None, h100, 8, 64, catalog).assumed
    assert not links(None, None, h100, 8, 8, catalog).assumed
    assert links(None, None, catalog.accelerators["L40S"], 8, 8, catalog).assumed
    assert not links(None, None, catalog.accelerators["L40S"], 8, 1, catalog).assumed


def test_a_rack_is_one_domain() -> None:
    catalog = load_catalog()
    assert links(None, None, catalog.accelerators["GB200-186GB"], 4, 72, catalog).domain == 72
    assert not links("NVL72", None, catalog.accelerators["GB200-186GB"], 4, 72, catalog).assumed


def test_every_chip_gets_links() -> None:
    catalog = load_catalog()
    for chip in catalog.accelerators.values():
        found = links(None, None, chip, math.nan, 16, catalog)
        assert found.intra_gbs > 0, chip.slug
        assert found.inter_gbs > 0, chip.slug
