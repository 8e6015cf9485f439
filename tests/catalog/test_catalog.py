"""Things are found by whatever name drivers, frameworks, clouds and people use."""

import math

import pytest

from service.catalog.catalog import load_catalog
from service.catalog.resolve import resolve


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("A100-SXM4-40GB", "A100-SXM4-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIe-80GB"),
        ("NVIDIA A100-PCIE-40GB", "A100-PCIe-40GB"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"),
        ("NVIDIA H100 PCIe", "H100-PCIe-80GB"),
        ("NVIDIA H100 NVL", "H100-NVL-94GB"),
        ("NVIDIA H200", "H200-SXM-141GB"),
        ("NVIDIA B200", "B200-SXM-180GB"),
        ("NVIDIA GB200", "GB200-186GB"),
        ("NVIDIA GH200 480GB", "GH200-96GB"),
        ("Tesla V100-SXM2-16GB", "V100-SXM2-16GB"),
        ("Tesla V100-SXM2-32GB", "V100-SXM2-32GB"),
        ("Tesla V100-SXM3-32GB", "V100-SXM3-32GB"),
        ("Tesla V100-PCIE-16GB", "V100-PCIe-16GB"),
        ("Tesla P100-PCIE-16GB", "P100-PCIe-16GB"),
        ("Tesla T4", "T4"),
        ("Tesla K80", "K80"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 3090", "RTX-3090"),
        ("GeForce RTX 2080 Ti", "RTX-2080Ti"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("NVIDIA GeForce RTX 2080 with Max-Q Design", "RTX-2080-MaxQ"),
        ("NVIDIA RTX A6000", "RTX-A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX-6000-Ada"),
        ("Quadro RTX 8000", "Quadro-RTX-8000"),
        ("NVIDIA TITAN RTX", "TITAN-RTX"),
        ("AMD Instinct MI300X", "MI300X"),
        ("AMD Instinct MI250X / MI250", "MI250X"),
        ("AMD Radeon RX 7900 XTX", "RX-7900-XTX"),
        ("gfx942", "MI300X"),
        ("GAUDI2", "Gaudi2"),
        ("HL-225", "Gaudi2"),
        ("TPU v4", "TPU-v4"),
        ("TPU v5 lite", "TPU-v5e"),
        ("Ascend910B3", "Ascend-910B"),
        ("Apple M2 Ultra", "Apple-M2-Ultra"),
        ("p4d.24xlarge", "A100-SXM4-40GB"),
        ("p5.48xlarge", "H100-SXM5-80GB"),
        ("trn1.32xlarge", "Trainium1"),
        ("a3-highgpu-8g", "H100-SXM5-80GB"),
        ("Standard_ND96isr_H100_v5", "H100-SXM5-80GB"),
        ("a100", "A100-SXM4-80GB"),
        ("v100", "V100-SXM2-16GB"),
        ("H100", "H100-SXM5-80GB"),
        ("rtx 3090 24GB", "RTX-3090"),
    ],
)
def test_an_accelerator_is_found_by_the_name_it_goes_by(name: str, slug: str) -> None:
    found = load_catalog().accelerator(name)
    assert found is not None
    assert found.slug == slug


@pytest.mark.parametrize("name", ["RTX 3090 48GB", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "H9000", "", "GPU"])
def test_a_name_that_is_no_chip_is_not_guessed(name: str) -> None:
    assert load_catalog().accelerator(name) is None


def test_a_typo_gets_suggestions() -> None:
    catalog = load_catalog()
    assert "H100-SXM5-80GB" in catalog.suggest("accelerators", "H100-SMX5-80GB")
    assert "resnet-50" in catalog.suggest("models", "resnt-50")
    assert catalog.suggest("accelerators", "") == []


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("meta-llama/Meta-Llama-3-8B", "llama-3-8b"),
        ("Llama 3 8B", "llama-3-8b"),
        ("ResNet50", "resnet-50"),
        ("mistralai/Mixtral-8x7B-v0.1", "mixtral-8x7b"),
        ("Qwen/Qwen2.5-7B", "qwen2.5-7b"),
        ("deepseek-ai/DeepSeek-V3", "deepseek-v3-671b"),
        ("Command R+", "command-r-plus-104b"),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "llama-3.1-8b"),
        ("TheBloke/Llama-2-13B-chat-GPTQ", "llama-2-13b"),
        ("Qwen/Qwen3-4B-Instruct-2507", "qwen3-4b"),
        ("mistral-7b-instruct-v0.3", "mistral-7b-v0.3"),
        ("internlm/internlm2-chat-20b", "internlm2-20b"),
        ("deepseek-v3-0324", "deepseek-v3-671b"),
        ("phi-3-mini-128k-instruct", "phi-3-mini-3.8b"),
        ("bert_base_uncased", "bert-base"),
        ("distilbert-base-cased", "distilbert-base-cased"),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "stable-diffusion-v1.5"),
        ("yolov5s", "yolov5s"),
        ("DiT-XL/2", "dit-xl-2"),
        ("state-spaces/mamba-2.8b", "mamba-2.8b"),
        ("facebook/esm2_t33_650M_UR50D", "esm2-650m"),
        ("WRN-28-10", "wrn-28-10"),
        ("whisper-medium.en", "whisper-medium"),
    ],
)
def test_a_model_is_found_by_its_published_name(name: str, canonical: str) -> None:
    found = load_catalog().model(name)
    assert found is not None
    assert found.name == canonical


@pytest.mark.parametrize("name", ["llama3", "bert", "swin", "gpt-base", "resnet50-base", "unknown-model-base"])
def test_a_name_that_may_mean_several_models_means_none(name: str) -> None:
    assert load_catalog().model(name) is None


def test_a_name_without_a_size_gets_the_sizes_suggested() -> None:
    assert "llama-3-8b" in load_catalog().suggest("models", "llama3")
    assert {"bert-base", "bert-large"} <= set(load_catalog().suggest("models", "bert"))


def test_sizes_are_told_apart_by_their_decimal_point() -> None:
    catalog = load_catalog()
    small, large = catalog.model("GPT 1.3B"), catalog.model("GPT 13B")
    assert small is not None
    assert large is not None
    assert large.parameters > 5 * small.parameters


def test_digits_that_a_name_puts_apart_are_not_run_together() -> None:
    catalog = load_catalog()
    assert catalog.model("GPT-2 2B") is None
    for name, canonical in (("GPT 22B", "megatron-gpt-22b"), ("Llama 3 8B", "llama-3-8b"), ("llama38b", "llama-3-8b")):
        found = catalog.model(name)
        assert found is not None
        assert found.name == canonical


def test_models_are_searched_by_words_in_any_order() -> None:
    catalog = load_catalog()
    assert "llama-3-8b" in [model.name for model in catalog.search_models("8b llama")]
    assert all(model.family == "encoder" for model in catalog.search_models("bert", family="encoder"))
    assert catalog.search_models("no such model") == []


def test_a_data_set_is_found_by_alias() -> None:
    found = load_catalog().dataset("ImageNet")
    assert found is not None
    assert found.samples == 1_281_167


def test_peaks_are_by_precision_and_unknown_ones_are_not_numbers() -> None:
    v100 = load_catalog().accelerators["V100-SXM2-16GB"]
    assert v100.peak_tflops("fp16") > 100
    assert math.isnan(v100.peak_tflops("fp8"))
    assert math.isnan(v100.peak_tflops("int3"))


def test_a_model_states_only_what_is_known() -> None:
    model = load_catalog().model("resnet-50")
    assert model is not None
    stated = model.stated()
    assert "forward_gmacs" in stated
    assert "hidden_size" not in stated


@pytest.mark.parametrize(
    ("name", "family", "parameters"),
    [
        ("llama-9b", "decoder", 9e9),
        ("gpt3-30b", "decoder", 30e9),
        ("org/Qwen9-50B-A5B", "moe", 50e9),
        ("bert-5b", "encoder", 5e9),
        ("nobody-has-this-7b", "decoder", 7e9),
        ("vit-22b", "other", None),
        ("resnet-50", "cnn", 25_557_032),
    ],
)
def test_an_unknown_model_of_a_known_name_is_sized_by_it(name: str, family: str, parameters: float | None) -> None:
    resolved = resolve({"model.name": name, "hardware.accelerator": "H100"}, load_catalog())
    assert resolved.values["family"] == family
    assert resolved.values.get("parameters") == parameters
    assert resolved.values.get("active_parameters") == (5e9 if "A5B" in name else None)
