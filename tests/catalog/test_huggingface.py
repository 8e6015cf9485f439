"""A published config.json is enough: decoder, encoder, encoder-decoder, mixture of experts, the text tower of more."""

from typing import Any

import pytest

from service.catalog.catalog import load_catalog
from service.catalog.huggingface import assumed_from_class, read_huggingface_config
from service.catalog.resolve import resolve

LLAMA_3_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 4096,
    "intermediate_size": 14336, "max_position_embeddings": 8192, "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 8, "tie_word_embeddings": False, "vocab_size": 128256, "torch_dtype": "bfloat16",
}  # fmt: skip
DEEPSEEK_V3: dict[str, Any] = {
    "model_type": "deepseek_v3", "hidden_act": "silu", "hidden_size": 7168, "num_hidden_layers": 61,
    "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "intermediate_size": 18432,
    "moe_intermediate_size": 2048, "n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1,
    "first_k_dense_replace": 3, "moe_layer_freq": 1, "vocab_size": 129280, "tie_word_embeddings": False,
    "max_position_embeddings": 163840,
}  # fmt: skip


def test_a_dense_decoder() -> None:
    assert read_huggingface_config(LLAMA_3_8B) == {
        "family": "decoder", "hidden_size": 4096, "layers": 32, "attention_heads": 32, "kv_heads": 8,
        "intermediate_size": 14336, "gated_mlp": True, "vocab_size": 128256, "tied_embeddings": False,
        "max_sequence_length": 8192,
    }  # fmt: skip


def test_an_old_spelling_and_the_defaults_of_its_class() -> None:
    read = read_huggingface_config(
        {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "n_inner": None,
         "vocab_size": 50257, "activation_function": "gelu_new"}
    )  # fmt: skip
    assert read["intermediate_size"] == 4 * 768
    assert read["gated_mlp"] is False
    assert read["tied_embeddings"] is True
    assert read["kv_heads"] == 12
    assert read["family"] == "decoder"


def test_an_encoder() -> None:
    read = read_huggingface_config(
        {"model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 1024, "num_hidden_layers": 24,
         "num_attention_heads": 16, "intermediate_size": 4096, "hidden_act": "gelu", "vocab_size": 30522,
         "max_position_embeddings": 512}
    )  # fmt: skip
    assert read["family"] == "encoder"
    assert read["encoder_layers"] == 24
    assert read["gated_mlp"] is False


@pytest.mark.parametrize(("projection", "gated"), [("relu", False), ("gated-gelu", True)])
def test_an_encoder_decoder(projection: str, gated: bool) -> None:
    read = read_huggingface_config(
        {"model_type": "t5", "is_encoder_decoder": True, "d_model": 768, "d_ff": 3072, "d_kv": 64, "num_heads": 12,
         "num_layers": 12, "num_decoder_layers": 12, "n_positions": 512, "vocab_size": 32128,
         "feed_forward_proj": projection}
    )  # fmt: skip
    assert read["family"] == "encoder_decoder"
    assert (read["encoder_layers"], read["decoder_layers"], read["layers"]) == (12, 12, 24)
    assert read["gated_mlp"] is gated
    assert "head_dim" not in read


def test_bart_states_its_towers() -> None:
    read = read_huggingface_config(
        {"model_type": "bart", "is_encoder_decoder": True, "d_model": 1024, "encoder_layers": 12, "decoder_layers": 12,
         "encoder_attention_heads": 16, "encoder_ffn_dim": 4096, "num_hidden_layers": 12, "vocab_size": 50265}
    )  # fmt: skip
    assert read["layers"] == 24
    assert read["intermediate_size"] == 4096


def test_a_mixture_of_experts() -> None:
    read = read_huggingface_config(
        {**LLAMA_3_8B, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000,
         "sliding_window": None}
    )  # fmt: skip
    assert read["family"] == "moe"
    assert (read["experts"], read["experts_per_token"], read["shared_experts"], read["dense_layers"]) == (8, 2, 0, 0)
    assert read["intermediate_size"] == 14336
    assert "sliding_window" not in read


def test_narrow_experts_and_wide_heads() -> None:
    read = read_huggingface_config(
        {"model_type": "qwen3_moe", "hidden_act": "silu", "hidden_size": 2048, "head_dim": 128, "num_hidden_layers": 48,
         "num_attention_heads": 32, "num_key_value_heads": 4, "intermediate_size": 6144, "moe_intermediate_size": 768,
         "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": [],
         "use_sliding_window": False, "sliding_window": 4096, "tie_word_embeddings": False, "vocab_size": 151936}
    )  # fmt: skip
    assert read["intermediate_size"] == 768
    assert read["head_dim"] == 128
    assert read["dense_layers"] == 0
    assert "sliding_window" not in read


@pytest.mark.parametrize(
    ("config", "window", "windowed", "attending"),
    [
        ({"model_type": "gemma2", "num_hidden_layers": 42, "sliding_window": 4096}, 4096, 21, None),
        ({"model_type": "gemma3_text", "num_hidden_layers": 34, "sliding_window": 1024}, 1024, 29, None),
        ({"model_type": "gpt_oss", "num_hidden_layers": 4, "sliding_window": 128,
          "layer_types": ["sliding_attention", "full_attention"] * 2}, 128, 2, None),
        ({"model_type": "mistral", "num_hidden_layers": 32, "sliding_window": None}, None, None, None),
        ({"model_type": "mistral", "num_hidden_layers": 32, "sliding_window": 4096}, 4096, None, None),
        ({"model_type": "qwen2", "num_hidden_layers": 28, "sliding_window": 4096, "use_sliding_window": True,
          "max_window_layers": 21}, 4096, 7, None),
        ({"model_type": "qwen3_next", "num_hidden_layers": 48, "full_attention_interval": 4}, None, None, 12),
        ({"model_type": "jamba", "num_hidden_layers": 32, "attn_layer_period": 8, "attn_layer_offset": 4},
         None, None, 4),
        ({"model_type": "nemotron_h", "num_hidden_layers": 8, "hybrid_override_pattern": "M-M*-M-M"}, None, None, 1),
    ],
)  # fmt: skip
def test_layers_that_see_a_window_or_do_not_attend(
    config: dict[str, object], window: float | None, windowed: float | None, attending: float | None
) -> None:
    read = read_huggingface_config({**LLAMA_3_8B, **config})
    assert read.get("sliding_window") == window
    assert read.get("windowed_layers") == windowed
    assert read.get("attention_layers") == attending


def test_every_second_layer_dense() -> None:
    read = read_huggingface_config(
        {"model_type": "llama4_text", "hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40,
         "num_key_value_heads": 8, "intermediate_size": 8192, "intermediate_size_mlp": 16384, "num_local_experts": 128,
         "num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "vocab_size": 202048}
    )  # fmt: skip
    assert read["dense_layers"] == 24
    assert read["shared_experts"] == 1


def test_latent_attention_counts_its_own_parameters() -> None:
    read = read_huggingface_config(DEEPSEEK_V3)
    known = load_catalog().model("deepseek-v3-671b")
    assert known is not None
    assert read["parameters"] == pytest.approx(known.parameters, rel=1e-6)
    assert read["active_parameters"] == pytest.approx(known.active_parameters, rel=1e-6)
    assert (read["dense_layers"], read["head_dim"], read["intermediate_size"]) == (3, 192, 2048)


@pytest.mark.parametrize("tower", ["text_config", "language_config", "llm_config"])
def test_the_text_tower_of_a_multimodal_model(tower: str) -> None:
    vision = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    wrapped = {"model_type": "some_vlm", "vision_config": vision, tower: LLAMA_3_8B, "hidden_size": 4096}
    assert read_huggingface_config(wrapped) == read_huggingface_config(LLAMA_3_8B)


def test_towers_within_towers() -> None:
    thinker = {"thinker_config": {"text_config": LLAMA_3_8B, "audio_config": {"d_model": 1280}}}
    assert read_huggingface_config({"model_type": "omni", **thinker})["layers"] == 32


def test_a_text_tower_is_filled_from_the_defaults_of_its_class() -> None:
    """gemma-3-4b-it and llava-1.5-7b-hf as published: heads, or everything, are left to the class."""
    gemma = {
        "model_type": "gemma3", "vision_config": {"hidden_size": 1152},
        "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
                        "num_hidden_layers": 34, "sliding_window": 1024},
    }  # fmt: skip
    read = read_huggingface_config(gemma)
    assert (read["attention_heads"], read["kv_heads"], read["head_dim"], read["vocab_size"]) == (8, 4, 256, 262208)
    assert (read["layers"], read["hidden_size"]) == (34, 2560)
    assert assumed_from_class(gemma)[1]["num_attention_heads"] == 8
    llava = {"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}}
    read = read_huggingface_config(llava)
    assert (read["layers"], read["hidden_size"], read["intermediate_size"], read["kv_heads"]) == (32, 4096, 11008, 32)
    assert read["vocab_size"] == 32064
    assert assumed_from_class(LLAMA_3_8B)[1] == {}


def test_a_mixture_is_filled_from_the_defaults_of_its_class() -> None:
    read = read_huggingface_config({"model_type": "mixtral", "num_hidden_layers": 56, "hidden_size": 6144})
    assert (read["experts"], read["experts_per_token"], read["kv_heads"]) == (8, 2, 8)
    read = read_huggingface_config({"model_type": "qwen2_moe", "shared_expert_intermediate_size": 5632})
    assert (read["experts"], read["intermediate_size"], read["shared_experts"]) == (60, 1408, 4)


def test_what_was_left_to_the_class_is_listed_as_assumed() -> None:
    config = {"model_type": "mistral", "hidden_size": 4096, "num_hidden_layers": 32}
    flat = {"model.huggingface_config": config, "hardware.accelerator": "H100"}
    assumed = {item.field: item.value for item in resolve(flat, load_catalog()).assumptions}
    left_out = assumed["model.huggingface_config"]
    assert isinstance(left_out, dict)
    assert left_out["num_key_value_heads"] == 8


def test_gemma_ties_its_embeddings_and_gates_with_gelu() -> None:
    read = read_huggingface_config(
        {"model_type": "gemma", "hidden_act": "gelu_pytorch_tanh", "hidden_size": 3072, "intermediate_size": 24576,
         "head_dim": 256, "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 16,
         "vocab_size": 256000}
    )  # fmt: skip
    assert read["tied_embeddings"] is True
    assert read["gated_mlp"] is True
    assert read["head_dim"] == 256


@pytest.mark.parametrize(
    ("falcon", "kv_heads"),
    [
        ({"multi_query": True, "new_decoder_architecture": False}, 1),
        ({"new_decoder_architecture": True, "num_kv_heads": 8}, 8),
    ],
)
def test_falcon_shares_keys_and_values(falcon: dict[str, Any], kv_heads: int) -> None:
    read = read_huggingface_config(
        {"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71,
         "vocab_size": 65024, **falcon}
    )  # fmt: skip
    assert read["kv_heads"] == kv_heads
    assert read["intermediate_size"] == 4 * 4544


def test_a_state_space_model_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="state-space") as refused:
        read_huggingface_config({"model_type": "mamba", "hidden_size": 2560, "num_hidden_layers": 64})
    assert "model.parameters" in str(refused.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="num_hidden_layers, num_attention_heads"):
        read_huggingface_config({"model_type": "strange", "hidden_size": 64})
    with pytest.raises(ValueError, match="without model_type"):
        read_huggingface_config({})


def test_depth_and_size_are_bounded() -> None:
    deep: dict[str, Any] = {}
    for _ in range(50):
        deep = {"text_config": deep}
    with pytest.raises(ValueError, match="levels deep"):
        read_huggingface_config(deep)
    with pytest.raises(ValueError, match="entries"):
        read_huggingface_config({"id2label": {str(index): index for index in range(30_000)}})


@pytest.mark.parametrize("value", [-1, float("nan"), "many", True, [1, "x"], {"a": 1}])
def test_nonsense_values_count_as_missing(value: object) -> None:
    with pytest.raises(ValueError, match="hidden_size"):
        read_huggingface_config({**LLAMA_3_8B, "hidden_size": value})


@pytest.mark.parametrize(
    ("name", "layers", "hidden", "heads"), [("vit-b-16", 12, 768, 12), ("vit-l-16", 24, 1024, 16)], ids=str
)
def test_a_vision_transformer_does_the_work_of_its_patches(name: str, layers: int, hidden: int, heads: int) -> None:
    config = {
        "model_type": "vit",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "image_size": 224,
        "patch_size": 16,
    }
    read, known = read_huggingface_config(config), load_catalog().models[name]
    assert read["forward_gmacs"] == pytest.approx(known.forward_gmacs, rel=0.01)
    assert read["parameters"] == pytest.approx(known.parameters, rel=0.02)
    uncut = {key: value for key, value in config.items() if key != "patch_size"}
    assert "forward_gmacs" not in read_huggingface_config(uncut)
