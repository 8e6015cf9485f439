"""The links of a run that is to happen, as its caller states them: names of the catalog, free text, or neither.

What is read of a measured run is `links`' own affair; of a request, all that is not taken as it was said is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.catalog.catalog import Accelerator, Catalog
from service.catalog.links import Links, is_port, links, parse_interconnect
from service.catalog.records import Interconnect
from service.catalog.resolution import Assumption

NAMES = "GET /v1/interconnects lists the names that are taken as they are"
# Links of pairs, and of a chip with its own processor: as names they join no node, as words they are NVLink.
_JOINS_NO_NODE = ("NVLink bridge (GA102/TU102)", "NVLink-C2C")
_SLOT = re.compile(r"PCIe \d\.0 x16$")
MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Said:
    """What a text names of the catalog, inside a node and between nodes; the words besides; and what nobody can read.

    `names` are the links as the caller spelled them.
    """

    inner: Interconnect | None
    outer: Interconnect | None
    names: dict[str, str]
    words: str
    unread: tuple[str, ...]


def request_links(
    text: str, rate: float | None, chip: Accelerator, per_node: float, count: float, catalog: Catalog
) -> tuple[Links, list[Assumption], list[str]]:
    """The links that a request asks for, what is assumed of those it names, and what is other than it says.

    Args:
        text: `hardware.interconnect` as stated.
        rate: GB/s per accelerator between nodes, which wins; None if not stated.
        chip: the accelerator.
        per_node: accelerators of a node.
        count: accelerators in all.
        catalog: the reference tables.
    """
    said = _read(text, chip, per_node, catalog)
    words = said.words or None
    usual = links(words, rate, chip, per_node, count, catalog)
    wired = links(words, rate, chip, per_node, count, catalog, said.inner, said.outer)
    assumptions = []
    if said.outer is not None and is_port(said.outer) and rate is None and count > wired.domain:
        shared = f"one {said.outer.name} for the {per_node:g} accelerators of a node"
        assumptions.append(Assumption("hardware.inter_node_gbs", float(f"{wired.inter_gbs:.4g}"), shared))
    if wired.assumed:
        assumptions.append(usual_links(wired, chip, said.inner is not None, said.outer is not None))
    doubts = [_unread(part, wired, count, catalog) for part in said.unread]
    if count > 1 and per_node > 1:
        doubts += _inner_doubts(said, wired, usual, chip)
    if wired.inter_assumed and (network := parse_interconnect(said.words).network):
        doubts.append(
            f"hardware.interconnect {network!r} tells no rate of a node's network; taken is what is usual of "
            f"{chip.slug}: {_outside(wired)}. Give hardware.inter_node_gbs, or a name: {NAMES}."
        )
    return wired, assumptions, doubts


def usual_links(wired: Links, chip: Accelerator, inner_stated: bool = False, outer_stated: bool = False) -> Assumption:
    """The assumption that links are the usual ones of the chip, but for what was named."""
    inside, between = f"{wired.intra_gbs:g} GB/s within", f"{wired.inter_gbs:g} GB/s between nodes"
    reason = (
        f"usual of {chip.slug}: {between}; as stated: {inside}"
        if inner_stated
        else f"usual of {chip.slug}: {inside}; as stated: {between}"
        if outer_stated
        else f"usual links of {chip.slug}: {inside}, {between}"
    )
    return Assumption("hardware.interconnect", f"{wired.intra_name}; {wired.inter_name}", reason)


def _read(text: str, chip: Accelerator, per_node: float, catalog: Catalog) -> Said:
    named: list[Interconnect] = []
    names: dict[str, str] = {}
    words, unread = [], []
    for part in text.split(";"):
        rest = []
        for piece in part.split(","):
            link = catalog.interconnect(piece)
            if link is None or link.name in _JOINS_NO_NODE:
                rest.append(piece)
            else:
                named.append(link)
                names[link.name] = piece.strip()
        phrase = ",".join(rest).strip()
        if phrase and parse_interconnect(phrase).understood:
            words.append(phrase)
        elif phrase:
            unread.append(phrase)
    inner = [link for link in named if link.kind == "intra"]
    # Beside another link, a slot is that of the host; what a card's own slot passes, `links` reckons from the words.
    has_own = not links(None, None, chip, per_node, per_node, catalog).intra_name.startswith("PCIe")
    others = [link for link in inner if not _SLOT.match(link.name)]
    if not has_own:
        words += [link.name for link in inner if link not in others]
    if not has_own or others or parse_interconnect("; ".join(words)).inner:
        inner = others
    outer = [link for link in named if link.kind == "inter"]
    return Said(_fastest(inner), _fastest(outer), names, "; ".join(words), tuple(unread))


def _fastest(named: list[Interconnect]) -> Interconnect | None:
    return max(named, key=lambda link: link.per_gpu_unidirectional_gbs, default=None)


def _unread(part: str, wired: Links, count: float, catalog: Catalog) -> str:
    taken = _inside(wired) + (f"; {_outside(wired)}" if count > wired.domain else "")
    near = catalog.suggest("interconnects", part)[:MOST_NAMES]
    meant = f" Did you mean {', '.join(near)}?" if near else ""
    return f"hardware.interconnect {part!r} is not understood; taken instead: {taken}.{meant} {NAMES}."


def _inner_doubts(said: Said, wired: Links, usual: Links, chip: Accelerator) -> list[str]:
    """Where the link inside a node is another than the words say, or a named one more than the chip has."""
    if said.inner is not None:
        if not wired.intra_gbs > usual.intra_gbs:
            return []
        return [
            f"hardware.interconnect {said.names[said.inner.name]!r} is taken as stated, {wired.intra_gbs:g} GB/s, "
            f"though usual of {chip.slug} is {_inside(usual)}"
        ]
    slots = [name for name in said.names if _SLOT.match(name) and name in said.words]
    wiring = parse_interconnect(said.words)
    told = {
        "nvlink": wired.intra_name.startswith("NVLink"),
        "bridge": wired.intra_name.startswith("NVLink"),
        "pcie": wired.intra_name.startswith("PCIe") or "pci" not in said.words.lower(),
        "fabric": not wired.intra_name.startswith(("NVLink", "PCIe")),
    }
    reckoned = f"{chip.slug} is reckoned with {_inside(wired)}"
    if not told.get(wiring.inner, True):
        return [f"hardware.interconnect {said.words!r}: {reckoned}; {NAMES}"]
    return [
        f"hardware.interconnect {name!r}: {reckoned}, as its slots pass no more"
        for name in slots
        if name != wired.intra_name
    ]


def _inside(wired: Links) -> str:
    return f"{wired.intra_name} ({wired.intra_gbs:.4g} GB/s) inside a node"


def _outside(wired: Links) -> str:
    return f"{wired.inter_name} ({wired.inter_gbs:.4g} GB/s per accelerator) between nodes"
