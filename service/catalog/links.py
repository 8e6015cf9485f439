"""What joins the accelerators of a job: free text or nothing at all → two named links with their rates.

All rates are GB/s (10^9 bytes a second) per accelerator in one direction, from ``interconnects.csv``. What a text
says about a switch-module chip never lowers its NVLink: such a module has it, whatever else the host has.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from service.catalog.catalog import Accelerator, Catalog
from service.catalog.records import Interconnect

GIGABITS_PER_GIGABYTE = 8.0


@dataclass(frozen=True, slots=True)
class Links:
    """The link inside a node (or a pod, a rack) and the one between nodes.

    ``domain`` is how many accelerators the inner link joins. ``assumed`` is true where a link that the job needs
    was not stated and the usual one of the chip was taken, ``inter_assumed`` where that is the one between nodes.
    """

    intra_name: str
    intra_gbs: float
    inter_name: str
    inter_gbs: float
    assumed: bool
    domain: float
    inter_assumed: bool


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a text says. ``inner``: nvlink, bridge, pcie, fabric or empty; rates are NaN where it gives none."""

    inner: str = ""
    pcie_generation: float = math.nan
    node_gbs: float = math.nan
    accelerator_gbs: float = math.nan
    network: str = ""
    system: str = ""

    @property
    def understood(self) -> bool:
        """True where the text told anything about either link."""
        return bool(self.inner or self.network or self.system)


_SYSTEMS = (
    (r"nd40rs", "Azure NDv2 node (1x EDR)", "nvlink"),
    (r"dgx.?gb[23]00|gb[23]00 nvl|nvl72", "", "nvlink"),
    (r"dgx.?2h?\b", "DGX-2 node (8x EDR)", "nvlink"),
    (r"dgx.?1\b", "DGX-1V node (4x EDR)", "nvlink"),
    (r"dgx.{0,4}a100", "DGX A100 node (8x HDR)", "nvlink"),
    (r"dgx.?h[12]00|h100 cluster", "DGX H100/H200 node (8x NDR)", "nvlink"),
    (r"dgx.?b200", "DGX B200 node (8x NDR)", "nvlink"),
    (r"dgx.?b300", "DGX B300 node (8x XDR)", "nvlink"),
    (r"p2\.8xlarge|k80x8", "Ethernet 10G", "pcie"),
    (r"gcp a3", "GCP GPUDirect-TCPX (A3 High)", "nvlink"),
    (r"jean zay", "Omni-Path 100", "nvlink"),
)
_INNER = (
    (r"nvlink\s*bridge|pcie\+nvlink", "bridge"),
    (r"nvlink|nvswitch", "nvlink"),
    (r"\bpci-?e\b|workstation", "pcie"),
    (r"xgmi|infinity fabric|gaudi roce|hccs|neuronlink|\bici\b|\btpu\b|24x 100gb/s|10x 100gb/s|7x 100gbe", "fabric"),
    (r"single server|consolidated on one server", "pcie"),
)
_OWN_PORTS = re.compile(r"^\s*(?:24x|10x|7x) 100gb(?:/s|e)")
_PCIE_GENERATION = re.compile(r"pcie,?\s*(?:gen\s*)?(\d)(?:\.0)?\b")
_NETWORK = re.compile(
    r"infiniband|\bib\b|\bndr|\bhdr|\bedr|ethernet|roce|gbe\b|omni-path|connect\s*x?-?x?|mellanox|\bbf3\b"
    r"|\befa\b|\bdcn\b|gbps|gb/sec|between servers|over servers|tb/s",
)
_NOT_NETWORK = re.compile(r"gpu-pcie|pcie-nic|^nvlink|aggregated")
_SEPARATOR = re.compile(r";|,(?=\s*(?:\d+\s*x|compute|management|storage|ethernet|infiniband|mellanox))|(?<=[a-z]) \+ ")
# "(4X EDR)" is the lanes of one port, not four ports.
_COUNT = re.compile(r"(?:^|[^\w.(])(\d+)\s*x\s*(?=[a-z\d])")
_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/\d+)?\s*(tb|gb)(?:\s*/\s*s|e\b|ps\b|\s+(?:ethernet|roce|rdma))")
_TOTAL = re.compile(r"adapters per server \((\d+) gb/s\)")
_PORT_RATES = {100.0, 200.0, 400.0}
_PORT_NAMES = (
    (r"\bxdr\b", 800.0),
    (r"\bndr\b|connectx-7|\bcx7\b", 400.0),
    (r"hdr100|connectx-5|connectx-4|\bedr\b|mt27700|omni-path", 100.0),
    (r"\bhdr\b|connectx-6", 200.0),
    (r"10gbe|\b10g\b", 10.0),
    (r"gig(?:a|abit)? ethernet|\b1gb?e?\b", 1.0),
)


@lru_cache(maxsize=4096)
def parse_interconnect(text: str) -> Wiring:
    """Read one free-text description of links (``NVLink; 8x ConnectX-7 IB NDR 400Gb/Sec``).

    Of several networks the one marked for computing counts, else the fastest; management and storage never do
    where another is named.
    """
    lowered = text.lower()
    inner = next((kind for pattern, kind in _INNER if re.search(pattern, lowered)), "")
    system, known_inner = next(
        ((name, kind) for pattern, name, kind in _SYSTEMS if re.search(pattern, lowered)), ("", "")
    )
    generation = _PCIE_GENERATION.search(lowered)
    node_gbs, network = (math.nan, "") if _OWN_PORTS.match(lowered) else _node_network(lowered)
    return Wiring(
        inner=inner or known_inner,
        pcie_generation=float(generation.group(1)) if generation else math.nan,
        node_gbs=node_gbs,
        network=network,
        system=system,
    )


def _node_network(lowered: str) -> tuple[float, str]:
    """GB/s of one node's compute network (NaN if not stated) and the words that name it."""
    parts = [part.strip() for part in _SEPARATOR.split(lowered)]
    parts = [part for part in parts if _NETWORK.search(part) and not _NOT_NETWORK.search(part)]
    marked = [part for part in parts if "compute" in part or " for ew" in part]
    best, words = math.nan, ""
    for part in marked or parts:
        rate = math.nan if part.startswith(("management", "storage:")) else _ports_gbs(part)
        if not words or (not math.isnan(rate) and not best >= rate):
            best, words = rate, part
    return best, words


def _ports_gbs(part: str) -> float:
    """GB/s of the ports one phrase names: ``8x ConnectX-7 IB NDR 400Gb/Sec`` → 400.

    NaN where a port's rate is given but not how many a node has, as InfiniBand machines have several.
    """
    if (adapters := _TOTAL.search(part)) is not None:
        return float(adapters.group(1))
    count = _COUNT.search(part)
    rates = [float(value) * (1000.0 if unit == "tb" else 1.0) for value, unit in _RATE.findall(part)]
    if not rates:
        rates = [next((rate for pattern, rate in _PORT_NAMES if re.search(pattern, part)), math.nan)]
    if count is None and "infiniband" in part and max(rates) in _PORT_RATES:
        return math.nan
    return (float(count.group(1)) if count else 1.0) * max(rates) / GIGABITS_PER_GIGABYTE


_INNER_LINKS = (
    ("P100-SXM2", "NVLink 1"),
    ("V100-SXM", "NVLink 2"),
    ("A100-SXM", "NVLink 3"),
    ("A800-SXM", "NVLink 3 (A800)"),
    ("H800-SXM", "NVLink 4 (H800)"),
    ("H100-SXM", "NVLink 4"),
    ("H200-SXM", "NVLink 4"),
    ("H20-SXM", "NVLink 4"),
    ("GH200", "NVLink 4"),
    ("B200-SXM", "NVLink 5"),
    ("B300-SXM", "NVLink 5"),
    ("GB200", "NVLink 5"),
    ("GB300", "NVLink 5"),
    ("MI250", "xGMI MI250X"),
    ("MI300", "xGMI MI300X/MI325X"),
    ("MI325", "xGMI MI300X/MI325X"),
    ("MI35", "xGMI MI350X/MI355X"),
    ("Gaudi2", "Gaudi2 RoCE in-node"),
    ("Gaudi3", "Gaudi3 RoCE in-node"),
    ("Gaudi", "Gaudi (1) RoCE in-node"),
    ("Trainium1", "NeuronLink-v2"),
    ("Trainium2", "NeuronLink-v3"),
    ("Trainium3", "NeuronLink-v4"),
    ("TPU-v2", "TPU ICI v3"),
    ("TPU-v3", "TPU ICI v3"),
    ("TPU-v4", "TPU ICI v4"),
    ("TPU-v5e", "TPU ICI v5e"),
    ("TPU-v5p", "TPU ICI v5p"),
    ("TPU-v6e", "TPU ICI v6e"),
    ("TPU7x", "TPU ICI TPU7x"),
    ("Ascend-910C", "Ascend UB (910C)"),
    ("Ascend-910B", "Ascend HCCS (910B)"),
)
_OUTER_LINKS = (
    ("P100-SXM2", "DGX-1V node (4x EDR)"),
    ("V100-SXM3", "DGX-2 node (8x EDR)"),
    ("V100-SXM2", "DGX-1V node (4x EDR)"),
    ("A100-SXM", "DGX A100 node (8x HDR)"),
    ("A800-SXM", "DGX A100 node (8x HDR)"),
    ("H100-SXM", "DGX H100/H200 node (8x NDR)"),
    ("H200-SXM", "DGX H100/H200 node (8x NDR)"),
    ("H800-SXM", "DGX H100/H200 node (8x NDR)"),
    ("H20-SXM", "DGX H100/H200 node (8x NDR)"),
    ("GH200", "IB NDR 4x port"),
    ("B200-SXM", "DGX B200 node (8x NDR)"),
    ("B300-SXM", "DGX B300 node (8x XDR)"),
    ("GB200", "GB200 NVL72 tray (4x NDR)"),
    ("GB300", "IB XDR 4x port"),
    ("MI250", "HPE Slingshot 11"),
    ("MI3", "RoCE 400G"),
    ("Gaudi2", "Gaudi2 scale-out"),
    ("Gaudi3", "Gaudi3 scale-out"),
    ("Gaudi", "Gaudi (1) scale-out"),
    ("Trainium1", "EFA trn1.32xlarge"),
    ("Trainium", "EFA v3 trn2"),
    ("Ascend-910A", "RoCE 100G"),
    ("Ascend", "RoCE 200G"),
)
_PODS = {
    "TPU-v2": 256.0,
    "TPU-v3": 1024.0,
    "TPU-v4": 4096.0,
    "TPU-v5e": 256.0,
    "TPU-v5p": 8960.0,
    "TPU-v6e": 256.0,
    "TPU7x": 9216.0,
}
_BRIDGE_PAIR = 2.0
# Judgement: servers of eight cards have two processors with four cards each, machines of up to four cards have one.
_CARDS_OF_PROCESSOR = 4.0
# Cards whose driver lets none read another's memory over PCIe: all that one sends another passes host memory.
_NO_PEERS = re.compile(r"RTX-[2-5]0(?!00-Ada)")


def _named(table: tuple[tuple[str, str], ...], slug: str) -> str:
    return next((name for prefix, name in table if slug.startswith(prefix)), "")


def _pcie_generation(accelerator: Accelerator) -> int:
    """PCIe generation of the card's slot: NVIDIA 5 from Hopper's and consumer Blackwell's cards, 4 from Ampere."""
    slug = accelerator.slug
    if re.match(r"H\d|GH|B\d|GB|RTX-50\d\d(?!-Ada)|RTX-PRO|MI3|RX-9|Gaudi[23]|Max-|TPU7x|Trainium[23]", slug):
        return 5
    if accelerator.year >= 2020 or slug in {"MI50-32GB", "MI60", "Ascend-910A"}:
        return 3 if "MaxQ" in slug or slug.startswith("Apple") else 4
    return 3


def _inner(
    wiring: Wiring, accelerator: Accelerator, per_node: float, count: float, catalog: Catalog
) -> tuple[str, float, bool, float]:
    """Name, GB/s, stated? and reach of the link inside the node.

    Where cards have no peer access, a ring of more than one processor hosts passes the link between two, which is
    slower than their slots.
    """
    slug = accelerator.slug
    name = _named(_INNER_LINKS, slug)
    if name:
        pod = 72.0 if slug.startswith("GB") else _PODS.get(slug, per_node)
        link = catalog.interconnects[name].per_gpu_unidirectional_gbs
        return name, link, True, max(pod, per_node)
    bridged = wiring.inner in {"bridge", "nvlink"} and accelerator.link_gbs_bidirectional > 0
    if bridged and (per_node <= _BRIDGE_PAIR or slug == "H200-NVL-141GB"):
        return "NVLink bridge", accelerator.link_gbs_bidirectional / 2, True, per_node
    generation = int(wiring.pcie_generation) if wiring.pcie_generation >= 3 else _pcie_generation(accelerator)
    name = f"PCIe {min(generation, _pcie_generation(accelerator))}.0 x16"
    together = min(per_node, count) if count == count else per_node
    if together > _CARDS_OF_PROCESSOR and _NO_PEERS.match(slug):
        name += " across processors"
    slot = catalog.interconnects[name]
    return slot.name, slot.per_gpu_unidirectional_gbs, wiring.inner in {"pcie", "bridge", "nvlink"}, per_node


def _outer(
    wiring: Wiring, inter_node_gbs: float | None, accelerator: Accelerator, per_node: float, catalog: Catalog
) -> tuple[str, float, bool]:
    """Name, GB/s per accelerator, stated? of the link between nodes."""
    if inter_node_gbs is not None and inter_node_gbs > 0:
        return "as given", float(inter_node_gbs), True
    if not math.isnan(wiring.node_gbs):
        return wiring.network, wiring.node_gbs / per_node, True
    if wiring.system:
        link = catalog.interconnects[wiring.system]
        rate = link.per_gpu_unidirectional_gbs
        if wiring.system == "Omni-Path 100":
            return link.name, rate * 4 / per_node, True
        return link.name, rate / (per_node if wiring.system.startswith("Ethernet") else 1), True
    if wiring.network.startswith("efa") or " efa" in wiring.network:
        name = {"A100-SXM4-40GB": "EFA v1 p4d/p4de", "A100-SXM4-80GB": "EFA v1 p4d/p4de"}.get(accelerator.slug, "")
        name = name or _named(
            (("H", "EFA v2 p5/p5e"), ("B200", "EFA v4 p6-b200"), ("B300", "EFA v4 p6-b300")), accelerator.slug
        )
        if name:
            return name, catalog.interconnects[name].per_gpu_unidirectional_gbs, True
    if accelerator.slug.startswith("TPU"):
        pod = catalog.interconnects[_named(_INNER_LINKS, accelerator.slug)]
        return pod.name, pod.per_gpu_unidirectional_gbs, bool(wiring.inner)
    name = _named(_OUTER_LINKS, accelerator.slug)
    if name:
        return name, catalog.interconnects[name].per_gpu_unidirectional_gbs, False
    consumer = accelerator.slug.startswith(
        ("RTX-2", "RTX-3", "RTX-4", "RTX-5", "GTX", "RX", "TITAN", "Apple", "K", "Vega", "Arc")
    )
    name = "Ethernet 10G" if consumer else "IB EDR 4x port" if accelerator.year < 2020 else "IB HDR 4x port"
    return name, catalog.interconnects[name].per_gpu_unidirectional_gbs / per_node, False


@lru_cache(maxsize=16_384)
def links(
    interconnect: str | None,
    inter_node_gbs: float | None,
    accelerator: Accelerator,
    per_node: float,
    count: float,
    catalog: Catalog,
    inner: Interconnect | None = None,
    outer: Interconnect | None = None,
) -> Links:
    """The links of a job.

    ``interconnect`` is free text or None; ``inter_node_gbs`` GB/s per accelerator one way, which wins; ``per_node``
    accelerators a node (NaN or below one: 8 or ``count`` if fewer); ``count`` accelerators in all. Without a word the
    chip's usual links are taken: half of its bidirectional link inside, the fabric of its reference machine between
    nodes, PCIe and one network port a node for cards. ``inner`` and ``outer`` are links named beside the text, which
    win over it; of a network known by its port a node has one.
    """
    if not per_node >= 1:
        per_node = max(1.0, min(8.0, count)) if count == count else 8.0
    wiring = parse_interconnect(interconnect) if interconnect else Wiring()
    intra_name, intra_gbs, intra_stated, domain = _inner(wiring, accelerator, per_node, count, catalog)
    inter_name, inter_gbs, inter_stated = _outer(wiring, inter_node_gbs, accelerator, per_node, catalog)
    if inner is not None:
        if inner.name != intra_name:
            intra_name, intra_gbs, domain = inner.name, inner.per_gpu_unidirectional_gbs, per_node
        intra_stated = True
    if outer is not None and not (inter_node_gbs is not None and inter_node_gbs > 0):
        if outer.name != inter_name:
            sharing = per_node if is_port(outer) else 1.0
            inter_name, inter_gbs = outer.name, outer.per_gpu_unidirectional_gbs / sharing
        inter_stated = True
    inter_assumed = count > per_node and count > domain and not inter_stated
    assumed = (per_node > 1 and count > 1 and not intra_stated) or inter_assumed
    return Links(intra_name, intra_gbs, inter_name, inter_gbs, assumed, domain, inter_assumed)


def is_port(link: Interconnect) -> bool:
    """Whether a network's rate is that of one port, of which the machines that it is usual in have one."""
    return link.name.startswith(("IB ", "Ethernet ", "Omni-Path "))
