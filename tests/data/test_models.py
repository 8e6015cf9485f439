"""The catalog's parameter counts agree with what the shapes give, but for models that the data's README explains."""

import re

import numpy as np

from service.catalog.catalog import DATA, load_catalog
from service.engine.operations import TYPICAL_KERNELS, parameter_count
from service.engine.table import Table

TRANSFORMERS = {"decoder", "encoder", "encoder_decoder", "moe"}
TOLERANCE = 0.03


def test_the_shape_explains_the_parameters() -> None:
    models = [
        model
        for model in load_catalog().models.values()
        if model.family in TRANSFORMERS
        and all(count > 0 for count in (model.layers, model.hidden_size, model.parameters, model.vocab_size))
    ]
    assert len(models) > 250
    rows: list[dict[str, float | str]] = [
        {name: float(value) if isinstance(value, int | float) else str(value) for name, value in model.stated().items()}
        for model in models
    ]
    ratios = parameter_count(Table.from_rows(rows)) / np.array([model.parameters for model in models])
    differing = {model.name for model, ratio in zip(models, ratios, strict=True) if not abs(ratio - 1) <= TOLERANCE}
    chapter = (DATA / "README.md").read_text(encoding="utf-8").split("## Parameters that the shape does not explain")[1]
    explained = set(re.findall(r"`([^`/]+)`", chapter.split("\n- ", 1)[1]))
    assert differing == explained


def test_the_models_people_ask_for_are_there() -> None:
    catalog = load_catalog()
    assert len(catalog.models) > 2_100
    for name in (
        "gpt-2", "gpt-3-175b", "llama-2-70b", "llama-3-8b", "llama-3.1-405b", "mixtral-8x7b", "qwen2.5-7b",
        "deepseek-v3-671b", "bert-large", "t5-base", "vit-b-16", "resnet-50", "mask-rcnn-r50-fpn", "gnmt", "dlrm",
        "tacotron2", "stable-diffusion-v1.5", "whisper-large-v3",
    ):  # fmt: skip
        model = catalog.model(name)
        assert model is not None, name
        assert model.parameters > 0
        assert model.source


def test_what_stands_in_for_uncounted_launches_is_the_median_of_the_counted() -> None:
    catalog = load_catalog()
    assert set(catalog.launches) <= set(catalog.models)
    for family in ("cnn", "vit"):
        counted = [
            entry.kernels
            for entry in catalog.launches.values()
            if catalog.models[entry.model].family == family and entry.source.startswith("pypi:")
        ]
        assert TYPICAL_KERNELS[family] == np.median(counted), family
