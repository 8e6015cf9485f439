"""What the host dispatches in a step: one by one, image by image, or compiled and recorded as a whole."""

from typing import Any

import pytest

from service.engine.step_inputs import prepare
from tests.engine.conftest import RESNET, TableOf

DETECTOR: dict[str, Any] = {
    "model.name": "mask-rcnn-r50-fpn",
    "data.image_size": 800,
    "hardware.accelerator": "A100-SXM4-80GB",
    "hardware.count": 8,
    "training.precision": "fp16",
}


def test_a_tpu_runs_a_step_as_one_program_whatever_the_framework(table_of: TableOf) -> None:
    eager = prepare(table_of({**RESNET, "software.framework": "pytorch"})).columns
    tpu = {"hardware.accelerator": "TPU-v3", "training.precision": "bf16"}
    for framework in ("tensorflow", "jax", "pytorch"):
        whole = prepare(table_of({**RESNET, **tpu, "software.framework": framework})).columns
        for name in ("host_units", "launches"):
            assert whole[name][0] == pytest.approx(0.1 * eager[name][0]), (framework, name)


@pytest.mark.parametrize(("framework", "more"), [("pytorch", True), ("mxnet", False)])
def test_only_eager_detectors_launch_image_by_image(table_of: TableOf, framework: str, more: bool) -> None:
    few, many = (
        prepare(table_of({**DETECTOR, "software.framework": framework, "training.global_batch": 8 * images}))
        for images in (1, 16)
    )
    assert bool(many.columns["launches"][0] > few.columns["launches"][0]) is more
