"""Forms over the vocabulary: the fields of a request's schema as HTML controls, each with its description as help."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any

from pydantic import BaseModel

LABELS = {
    "model.name": "Model",
    "data.name": "Data set",
    "kv_heads": "Key-value heads",
    "gated_mlp": "Gated feed-forward layer",
    "vocab_size": "Vocabulary",
    "tied_embeddings": "Embeddings share weights",
    "forward_gmacs": "Forward pass, 10⁹ multiply-accumulates",
    "huggingface_config": "Paste a config.json",
    "hidden_size": "Width of a layer",
    "inter_node_gbs": "Network between nodes, GB/s",
    "per_node": "Accelerators per node",
    "count": "Accelerators",
    "accelerator": "Accelerator",
    "mfu": "MFU",
    "pue": "PUE",
    "gco2e_per_kwh": "Grid, g CO₂e per kWh",
    "usd_per_accelerator_hour": "Own price, USD per accelerator-hour",
    "watts_per_accelerator": "Metered watts per accelerator",
    "peak_memory_gb": "Peak memory, GB",
    "model_tflops": "Model TFLOP/s per accelerator",
    "fp8_recipe": "8-bit recipe",
    "cuda_graphs": "CUDA graphs",
    "estimate_id": "Saved estimate",
    "runs": "Repeats (folds, seeds, trials)",
}
"""Where a field's name with spaces would not do as a label: by dotted name, or by the field's own."""

SEARCHED = {
    "model.name": "v1/models name",
    "data.name": "v1/datasets name",
    "hardware.accelerator": "v1/accelerators slug",
    "location.region": "v1/grids region",
}
"""Fields that are found by typing: the catalog to ask, and which field of its entries is the value."""

SECTION_TITLES = {
    "model": "Model, in detail",
    "data": "Data, in detail",
    "hardware": "Hardware, in detail",
    "training": "Training and layout, in detail",
    "software": "Software",
    "pricing": "Price",
    "location": "Place, energy and carbon",
    "goodput": "Interruptions and checkpoints",
    "provenance": "Where it is from",
    "result": "What was observed, in detail",
    "": "Other",
}


@dataclass(frozen=True)
class Control:
    """One field of a form: its dotted name, and what its schema says of it."""

    name: str
    kind: str  # text, number, choice, flag or json
    help: str
    choices: tuple[str, ...] = ()
    example: str = ""

    @property
    def section(self) -> str:
        """The object it belongs to; empty at the top level."""
        return self.name.rpartition(".")[0]

    @property
    def label(self) -> str:
        """What people read."""
        own = self.name.rpartition(".")[2]
        return LABELS.get(self.name) or LABELS.get(own) or own.replace("_", " ").capitalize()


@lru_cache
def controls(request: type[BaseModel]) -> Mapping[str, Control]:
    """The controls of a request's fields by dotted name, in the order of the vocabulary."""
    schema = request.model_json_schema()
    return {control.name: control for control in _controls(schema["properties"], schema.get("$defs", {}), "")}


def fieldsets(
    request: type[BaseModel],
    essential: Mapping[str, Sequence[str]],
    *,
    without: Sequence[str] = (),
    required: Sequence[str] = (),
) -> str:
    """A form's inside: the essential fields under their legends, all others folded away by section.

    Args:
        request: the schema that the form fills.
        essential: legend -> dotted names shown at once.
        without: dotted names, and sections, that the form does not ask for.
        required: dotted names that are marked as needed; the service decides.
    """
    known = controls(request)
    shown = {name for names in essential.values() for name in names}
    parts = [
        f'<fieldset><legend>{escape(legend)}</legend><div class="fields">'
        + "".join(control_html(known[name], required=name in required) for name in names)
        + "</div></fieldset>"
        for legend, names in essential.items()
    ]
    for section, title in SECTION_TITLES.items():
        rest = [
            control
            for control in known.values()
            if control.section == section and not {control.name, section} & {*without, *shown}
        ]
        if rest:
            inside = "".join(control_html(control) for control in rest)
            parts.append(
                f'<details class="more"><summary>{escape(title)}</summary><div class="fields">{inside}</div></details>'
            )
    return "".join(parts)


def control_html(control: Control, *, required: bool = False) -> str:
    """A labelled control with its help; what is wrong with it is put beside it under the id `e-NAME`."""
    name, label = escape(control.name), escape(control.label)
    mark = ' <span class="needed">(needed)</span>' if required else ""
    common = f'id="f-{name}" name="{name}" data-kind="{control.kind}" aria-describedby="h-{name}"'
    if control.kind in ("choice", "flag"):
        choices = [("", "not stated")]
        if control.kind == "flag":
            choices += [("true", "yes"), ("false", "no")]
        else:
            choices += [(choice, choice.replace("_", " ")) for choice in control.choices]
        options = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in choices)
        entry = f"<select {common}>{options}</select>"
    elif control.kind == "json":
        entry = f"<textarea {common} rows=2 placeholder='{{\"model_type\": …}}'></textarea>"
    else:
        hint = f' placeholder="{escape(control.example)}"' if control.example else ""
        numeric = ' inputmode="decimal"' if control.kind == "number" else ""
        searched = f' data-catalog="{escape(SEARCHED[control.name])}"' if control.name in SEARCHED else ""
        entry = f'<input type="text" {common}{hint}{numeric}{searched}>'
    return (
        f'<div class="field {control.kind}"><label for="f-{name}">{label}{mark}</label>{entry}'
        f'<p class="help" id="h-{name}">{escape(control.help)}</p></div>'
    )


def _controls(properties: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str) -> Iterator[Control]:
    for own, about in properties.items():
        reference = about.get("$ref")
        if reference:
            inner = definitions[reference.rpartition("/")[2]]
            yield from _controls(inner["properties"], definitions, f"{own}.")
        else:
            yield _control(f"{prefix}{own}", about)


def _control(name: str, about: Mapping[str, Any]) -> Control:
    branches = about.get("anyOf", [about])
    kind_of = next(branch for branch in branches if branch.get("type") != "null")
    kind = {"number": "number", "integer": "number", "boolean": "flag", "object": "json"}.get(kind_of["type"], "text")
    choices = tuple(kind_of.get("enum", ()))
    first = next(iter(about.get("examples", ())), "")
    # As people write it: 8.03e9, not 8.03e+09.
    example = f"{first:g}".replace("e+0", "e").replace("e+", "e") if isinstance(first, float) else str(first)
    return Control(name, "choice" if choices else kind, about.get("description", ""), choices, example)
