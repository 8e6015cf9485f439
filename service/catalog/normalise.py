"""One spelling for each thing, on the way in: frameworks, precisions, optimizers, accelerators, data sets.

What is given stays what it means: only spellings change, a framework's version moves into its own field, and text that
decides speed in ways a name cannot tell (interconnects) is left for ``links`` to read.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from service.catalog.catalog import load_catalog
from service.field_types import PRECISION_SPELLINGS

# In this order: what runs on top names the framework (NeMo runs Megatron, which runs PyTorch).
_FRAMEWORKS: tuple[tuple[str, str], ...] = (
    (r"deepbench|vendor library", "vendor-library"),
    (r"mindspeed", "mindspeed-llm"),
    (r"mindformers", "mindformers"),
    (r"mindspore", "mindspore"),
    (r"megatron[-_ ]?bridge", "megatron-bridge"),
    (r"neuronx[-_ ]nemo|nemo[-_ ]?megatron \(neuronx\)", "neuronx-nemo-megatron"),
    (r"neuronx[-_ ]distributed", "neuronx-distributed"),
    (r"torch[-_ ]neuronx?", "torch-neuronx"),
    (r"optimum[-_ ]habana", "optimum-habana"),
    (r"\bnemo\b|nemo[-_ ]", "nemo"),
    (r"megatron.*deepspeed|deepspeed.*megatron|\bgpt[-_ ]?neox\b", "megatron-deepspeed"),
    (r"megatron", "megatron-lm"),
    (r"nanotron", "nanotron"),
    (r"llm[-_ ]?foundry|\bcomposer\b|mosaicml", "llm-foundry"),
    (r"ms[-_ ]?swift|\bswift\b", "ms-swift"),
    (r"llama[-_ ]?factory", "llama-factory"),
    (r"axolotl", "axolotl"),
    (r"unsloth", "unsloth"),
    (r"torchtitan", "torchtitan"),
    (r"torchtune", "torchtune"),
    (r"litgpt|lit[-_ ]gpt", "litgpt"),
    (r"levanter", "levanter"),
    (r"maxtext", "maxtext"),
    (r"maxdiffusion", "maxdiffusion"),
    (r"paxml|\bpax\b", "paxml"),
    (r"\bt5x\b", "t5x"),
    (r"\balpa\b", "alpa"),
    (r"colossal[-_ ]?ai", "colossalai"),
    (r"internevo|internlm", "internevo"),
    (r"hugectr", "hugectr"),
    (r"\bdgl\b", "dgl"),
    (r"fairseq|fairscale", "fairseq"),
    (r"\bpeft\b", "peft"),
    (r"\btrl\b", "trl"),
    (r"transformers|hugging ?face|\bhf trainer\b", "transformers"),
    (r"\baccelerate\b", "accelerate"),
    (r"deepspeed", "deepspeed"),
    (r"lightning", "pytorch-lightning"),
    (r"\bllm\.c\b", "llm.c"),
    (r"tinygrad", "tinygrad"),
    (r"\bmlx\b", "mlx"),
    (r"intel.*caffe|caffe.*intel", "intel-caffe"),
    (r"caffe ?2", "caffe2"),
    (r"caffe", "caffe"),
    (r"mxnet|gluon", "mxnet"),
    (r"chainer", "chainer"),
    (r"neon\b", "neon"),
    (r"cudaconvnet2", "cudaconvnet2"),
    (r"torch[-_ ]?7|\(torch\)|^cudnn\[", "torch7"),
    (r"py ?torch|^torch\b", "pytorch"),
    (r"fastai", "pytorch"),
    (r"paddle", "paddlepaddle"),
    (r"tensorflow|^tf\b|keras", "tensorflow"),
    (r"tensorpack [\d.]+|tensorpack", "tensorflow"),
    (r"^jax\b|\(jax\)|\bflax\b", "jax"),
)
_VERSION = re.compile(r"v?(\d+(?:\.\d+)+\S*)")
# Kernel libraries that older entries name beside the framework; they are its build, not another framework.
_BUILD = re.compile(r"(cudnn\[r\d\](?:-fp\d\d)?|fbfft|\(native\)|cl-nn|clgreentea|fp16$|fp32$)", re.IGNORECASE)
_OPTIMIZERS = {
    "adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_hf": "adamw", "fusedadam": "adamw",
    "fused_adam": "adamw", "adamw_apex_fused": "adamw", "adamw_8bit": "adam8bit", "adamw_bnb_8bit": "adam8bit",
    "paged_adamw_8bit": "adam8bit", "8bit-adam": "adam8bit", "adam_8bit": "adam8bit", "momentum": "sgd",
    "sgd_momentum": "sgd", "nesterov": "sgd",
}  # fmt: skip


@lru_cache(maxsize=1024)
def framework(text: str) -> tuple[str, str | None]:
    """Canonical framework and the version that its spelling carries, if any.

    ``Moxing v1.13.0 + TensorFlow v1.13.1`` → (``tensorflow``, ``1.13.1``); an unknown one is only folded to lower case.
    """
    lowered = " ".join(text.lower().split())
    for pattern, name in _FRAMEWORKS:
        found = re.search(pattern, lowered)
        if found:
            version = _VERSION.search(lowered, found.end())
            build = _BUILD.search(text)
            if version and not re.search(r"[,+/]", lowered[found.end() : version.start()]):
                return name, version.group(1).rstrip(",;)")
            return name, build.group(1).strip("()") if build and lowered != name else None
    version = _VERSION.search(lowered)
    if version and version.start() > 0:
        return lowered[: version.start()].strip(" -_v"), version.group(1)
    return lowered, None


def normalise(flat: Mapping[str, object]) -> dict[str, object]:
    """Dotted fields with canonical spellings; nothing is added but what others carry: a framework's version, how many
    accelerators a cloud machine named as the accelerator has (``p4d.24xlarge``: 8 per node), and that layers are
    recomputed where it is said how many.

    Unknown accelerators and data sets keep their text. Applying it again changes nothing.
    """
    fields = dict(flat)
    named = fields.get("software.framework")
    if isinstance(named, str):
        name, version = framework(named)
        fields["software.framework"] = name
        if version is not None:
            fields.setdefault("software.framework_version", version)
    precision = fields.get("training.precision")
    if isinstance(precision, str):
        folded = precision.strip().lower().removeprefix("torch.")
        fields["training.precision"] = PRECISION_SPELLINGS.get(folded, folded)
    optimizer = fields.get("training.optimizer")
    if isinstance(optimizer, str):
        folded = optimizer.strip().lower()
        fields["training.optimizer"] = _OPTIMIZERS.get(folded, folded)
    catalog = load_catalog()
    accelerator = fields.get("hardware.accelerator")
    if isinstance(accelerator, str) and (chip := catalog.accelerator(accelerator)) is not None:
        fields["hardware.accelerator"] = chip.slug
        machine = catalog.per_machine(accelerator)
        count = fields.get("hardware.count")
        whole = not isinstance(count, int | float) or count % machine == 0 if machine else False
        if machine and whole and fields.get("hardware.per_node") is None:
            fields["hardware.per_node"] = int(machine)
    if fields.get("training.recompute_share") is not None and fields.get("training.recompute") is None:
        fields["training.recompute"] = "full"
    dataset = fields.get("data.name")
    if isinstance(dataset, str) and (known := catalog.dataset(dataset)) is not None:
        fields["data.name"] = known.name
    return fields
