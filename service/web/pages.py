"""Which pages there are, and their HTML: one shell around each page's own part, forms made from the vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import urlencode

from pydantic import BaseModel

from service.configuration import Measurement
from service.estimates.examples import EXAMPLES
from service.estimates.schemas import EstimateRequest
from service.field_types import FAMILIES
from service.web.forms import fieldsets

TEMPLATES = Path(__file__).parent / "templates"

MODEL_AND_DATA: dict[str, Sequence[str]] = {
    "What is trained": ("model.name", "training.mode", "model.huggingface_config"),
    "On how much": ("data.name", "data.tokens", "data.samples", "data.epochs", "data.sequence_length"),
}
HARDWARE: dict[str, Sequence[str]] = {
    "On what": ("hardware.accelerator", "hardware.count", "hardware.per_node"),
}
TRAINING: dict[str, Sequence[str]] = {
    "How": ("training.precision", "training.global_batch", "software.framework"),
}
OBSERVED: dict[str, Sequence[str]] = {
    "What was observed": ("result.value", "result.unit", "provenance.measured_on", "visibility"),
}
UNSHARED = ("save",)
"""Not asked: a shared address would save anew whenever somebody opens it."""


@dataclass(frozen=True)
class Form:
    """What a page asks: the schema it fills, its essential fields by legend, and what it leaves out."""

    request: type[BaseModel]
    essential: Mapping[str, Sequence[str]]
    without: Sequence[str] = UNSHARED
    required: Sequence[str] = ("model.name",)


@dataclass(frozen=True)
class Page:
    """One page: where it is, what it is called, what it is for, and what it asks."""

    path: str
    title: str
    purpose: str
    form: Form | None = field(default=None)

    @property
    def name(self) -> str:
        """Name of its template and its script."""
        return self.path.removeprefix("/") or "estimate"


PAGES = (
    Page(
        "/",
        "Estimate",
        "How long one training run takes, what it costs and what it emits, each with a calibrated 80 % interval.",
        Form(
            EstimateRequest,
            MODEL_AND_DATA | HARDWARE | TRAINING,
            required=("model.name", "hardware.accelerator"),
        ),
    ),
    Page(
        "/compare",
        "Compare",
        "The same training on several kinds of hardware, side by side.",
        Form(
            EstimateRequest,
            MODEL_AND_DATA | TRAINING,
            without=(*UNSHARED, "hardware.accelerator", "hardware.count", "hardware.per_node"),
        ),
    ),
    Page(
        "/scale",
        "Scale",
        "Days and cost against the number of accelerators, with 80 % bands.",
        Form(
            EstimateRequest,
            MODEL_AND_DATA | {"On what": ("hardware.accelerator", "hardware.per_node")} | TRAINING,
            without=(*UNSHARED, "hardware.count"),
            required=("model.name", "hardware.accelerator"),
        ),
    ),
    Page(
        "/plan",
        "Plan",
        "Which hardware, and how to split the work over it: plans that none beats in time, cost and energy at once.",
        Form(EstimateRequest, MODEL_AND_DATA | TRAINING, without=(*UNSHARED, "hardware", "site")),
    ),
    Page("/measurements", "Measurements", "What was measured, by whom, and how the calibration in use explains it."),
    Page("/accuracy", "Accuracy", "How good the calibration in use is on sources that it had not seen."),
    Page(
        "/submit",
        "Submit",
        "Add what your runs measured: one by hand, or a whole file, checked row by row before anything is stored.",
        Form(
            Measurement,
            {"What was trained": ("model.name", "training.mode", "model.huggingface_config")}
            | HARDWARE
            | {"How": (*TRAINING["How"], "data.sequence_length")}
            | OBSERVED,
            without=(),
            required=("model.name", "hardware.accelerator", "result.value", "result.unit"),
        ),
    ),
)

PATHS = frozenset(page.path for page in PAGES)


def render(page: Page) -> str:
    """The HTML of a page. Addresses in it are relative, so that a proxy may serve it under any prefix."""
    return _template("shell").substitute(
        title=escape(page.title),
        purpose=escape(page.purpose),
        name=page.name,
        navigation=_navigation(page),
        main=_template(page.name).substitute(
            form=_form(page.form),
            examples=_examples(),
            families="".join(f"<option>{family}</option>" for family in FAMILIES),
        ),
    )


def _form(form: Form | None) -> str:
    if form is None:
        return ""
    return fieldsets(form.request, form.essential, without=form.without, required=form.required)


def _navigation(current: Page) -> str:
    def link(page: Page) -> str:
        mark = ' aria-current="page"' if page is current else ""
        return f'<li><a href="{"." if page.path == "/" else page.name}"{mark}>{escape(page.title)}</a></li>'

    return "".join(link(page) for page in PAGES)


def _examples() -> str:
    """The documentation's examples as links that ask the whole question."""

    def link(about: Mapping[str, object]) -> str:
        request = EstimateRequest.model_validate(about["value"])
        stated = request.model_dump(mode="json", exclude_unset=True)
        flat = {
            f"{section}.{name}": f"{value:g}" if isinstance(value, float) else value
            for section, part in stated.items()
            for name, value in part.items()
        }
        return f'<li><a href="?{escape(urlencode(flat))}">{escape(str(about["summary"]))}</a></li>'

    return "".join(link(about) for about in EXAMPLES.values())


def _template(name: str) -> Template:
    return Template((TEMPLATES / f"{name}.html").read_text(encoding="utf-8"))
