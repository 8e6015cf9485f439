"""Chips as the engine sees them: which microarchitecture a chip belongs to, and its peak at a precision.

Chips of one microarchitecture share kernels, compilers and habits of use, so a measurement on one tells about the
others (hierarchical pooling in `calibration.py`: global, then group, then chip).
"""

from __future__ import annotations

import re

GROUPS: tuple[tuple[str, str], ...] = (
    ("gb300|b300", "blackwell-ultra"),
    ("gb200|b200|gb10|rtx-50(?!00-ada)|rtx-pro-6000", "blackwell"),
    ("gh200|h100|h200|h800|h20", "hopper"),
    ("l4$|l20|l40|rtx-40|ada", "ada"),
    ("a100|a800|a30$", "ampere"),
    ("a10|a16|a2$|a40|rtx-30|rtx-a", "ampere-graphics"),
    ("t4|rtx-20|quadro-rtx|titan-rtx", "turing"),
    ("v100|titan-v", "volta"),
    ("p100|p40|p4|gtx-10|titan-x-pascal|titan-xp", "pascal"),
    ("k80|k40", "kepler"),
    ("m40|m60|gtx-titan-x|gtx-9", "maxwell"),
    ("mi3", "cdna3"),
    ("mi2[15][05]|mi100", "cdna"),
    ("mi50|mi60|mi25$|vega|radeon|rx-|pro-w", "radeon"),
    ("gaudi", "gaudi"),
    ("tpu", "tpu"),
    ("trainium", "trainium"),
    ("ascend", "ascend"),
    ("xeon-phi", "xeon-phi"),
    ("max-1|arc-", "xe"),
    ("apple", "apple"),
    ("xeon|epyc|standard", "cpu"),
)
_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), group) for pattern, group in GROUPS)


def chip_group(slug: str) -> str:
    """The microarchitecture of a catalog chip, e.g. `"hopper"` for `"H100-SXM5-80GB"`; `"other"` if none matches."""
    for pattern, group in _PATTERNS:
        if pattern.match(slug):
            return group
    for pattern, group in _PATTERNS:
        if pattern.search(slug):
            return group
    return "other"
