"""Reads a published ``config.json`` into the vocabulary's shape fields.

Frameworks spell the same quantities in many ways; each is looked up under all its known names, in the text tower of a
multimodal model. What a configuration leaves to its class's defaults (tied embeddings, gating, a feed-forward width of
four times the hidden size) is filled in as the class does.
"""

from collections.abc import Mapping
from typing import Any, cast

from service.catalog.huggingface_attention import read_attention_layers
from service.catalog.huggingface_defaults import class_defaults
from service.field_types import SMALLEST

DEEPEST = 12
MOST_ENTRIES = 20_000

_TOWERS = (
    "text_config",
    "language_config",
    "llm_config",
    "thinker_config",
    "text_model_config",
    "lm_config",
    "language_model",
)

_NAMES: dict[str, tuple[str, ...]] = {
    field: tuple(spellings.split())
    for field, spellings in {
        "hidden_size": "hidden_size n_embd d_model n_embed model_dim dim",
        "layers": "num_hidden_layers n_layer n_layers num_layers num_transformer_layers",
        "attention_heads": "num_attention_heads n_head num_heads n_heads encoder_attention_heads",
        "kv_heads": "num_key_value_heads num_kv_heads n_head_kv n_kv_heads multi_query_group_num",
        "head_dim": "head_dim d_kv attention_head_dim kv_channels attention_head_size",
        "intermediate_size": (
            "intermediate_size n_inner ffn_dim d_ff ffn_hidden_size encoder_ffn_dim hidden_dim d_inner"
        ),
        "vocab_size": "vocab_size padded_vocab_size n_vocab",
        "max_sequence_length": (
            "max_position_embeddings n_positions n_ctx max_seq_len max_sequence_length seq_length model_max_length"
        ),
        "experts": "num_local_experts num_experts n_routed_experts moe_num_experts num_routed_experts",
        "experts_per_token": (
            "num_experts_per_tok num_experts_per_token moe_top_k moe_topk top_k_experts num_selected_experts"
        ),
        "shared_experts": "n_shared_experts num_shared_experts num_shared_expert moe_num_shared_experts",
        "expert_width": "moe_intermediate_size expert_ffn_hidden_size",
    }.items()
}

_ENCODERS = {
    "bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "albert", "distilbert", "electra", "deberta", "deberta-v2",
    "mpnet", "camembert", "modernbert", "nomic_bert", "megatron-bert", "ernie", "longformer", "big_bird", "funnel",
    "esm", "flaubert", "xlm", "mobilebert", "squeezebert", "roformer", "layoutlm", "layoutlmv3", "nystromformer",
    "neobert", "eurobert",
}  # fmt: skip
_VISION = {
    "vit", "deit", "beit", "dinov2", "dinov2_with_registers", "vit_mae", "vit_msn", "clip_vision_model",
    "siglip_vision_model", "data2vec-vision", "ijepa",
}  # fmt: skip
_SPEECH = {
    "whisper",
    "wav2vec2",
    "hubert",
    "wavlm",
    "speech_to_text",
    "unispeech",
    "data2vec-audio",
    "wav2vec2-conformer",
}
_STATE_SPACE = {"mamba", "mamba2", "falcon_mamba", "rwkv", "rwkv5", "rwkv6", "rwkv7", "xlstm", "hyena", "retnet"}
_TIED = {
    "gpt2", "gpt_neo", "gpt_bigcode", "opt", "bloom", "falcon", "RefinedWeb", "RefinedWebModel", "mpt", "starcoder2",
    "t5", "mt5", "umt5", "longt5", "bart", "mbart", "pegasus", "marian", "m2m_100", "blenderbot", "led", "whisper",
    "gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text", "cohere", "cohere2", "xglm", "ctrl",
    "openai-gpt", "biogpt", "prophetnet", "smollm3", *_ENCODERS,
}  # fmt: skip
_UNGATED = {
    "gpt2", "gpt_neo", "gpt_neox", "gptj", "gpt_bigcode", "codegen", "opt", "bloom", "falcon", "RefinedWeb",
    "RefinedWebModel", "mpt", "starcoder2", "phi", "nemotron", "persimmon", "bart", "mbart", "pegasus", "marian",
    "m2m_100", "blenderbot", "led", "xglm", "ctrl", "openai-gpt", "biogpt", "prophetnet", "fsmt", "arcee",
    *(_ENCODERS - {"modernbert", "nomic_bert", "neobert", "eurobert"}), *_VISION, *_SPEECH,
}  # fmt: skip


def read_huggingface_config(config: Mapping[str, Any]) -> dict[str, object]:
    """Shape fields of a ``config.json``: decoder, encoder, encoder-decoder, mixture of experts, the text tower of more.

    Returns the vocabulary's ``model.*`` names without the prefix: counts as float, flags as bool, ``family`` as text,
    unknown ones left out. ``parameters`` and ``active_parameters`` are given only for multi-head latent attention,
    whose low-rank projections (DeepSeek-V2, arXiv 2405.04434, section 2.1) the shape fields cannot express.

    Raises ``ValueError`` saying what is missing, or that the model is none of these.
    """
    _check_size(config)
    outer = config
    config = _text_tower(config)
    kind = str(config.get("model_type") or outer.get("model_type") or "").strip()
    if kind in _STATE_SPACE:
        raise ValueError(
            f"{kind!r} is a state-space model, without the attention layers that the shape fields describe: "
            "give model.name or model.parameters instead"
        )
    fields: dict[str, object] = dict(class_defaults(config, kind, _NAMES))
    fields.update({name: value for name in _NAMES if (value := _first(config, name)) is not None})
    _read_towers(config, kind, fields)
    missing = [_NAMES[name][0] for name in ("hidden_size", "layers", "attention_heads") if name not in fields]
    if missing:
        what = f"of model type {kind!r}" if kind else "without model_type"
        raise ValueError(
            f"this config.json {what} does not state {', '.join(missing)} under any known name: "
            "give the shape fields (model.hidden_size, model.layers, model.attention_heads) or model.parameters"
        )
    _read_attention(config, kind, fields)
    _read_feed_forward(config, kind, fields)
    tied = config.get("tie_word_embeddings", outer.get("tie_word_embeddings"))
    fields["tied_embeddings"] = tied if isinstance(tied, bool) else kind in _TIED
    fields["family"] = _family(config, kind, fields)
    if fields["family"] == "encoder" and "encoder_layers" not in fields:
        fields["encoder_layers"] = fields["layers"]
    if fields["family"] == "vit":
        fields.update(_work_on_patches(config, fields))
    if config.get("kv_lora_rank") and "vocab_size" in fields:
        fields["parameters"], fields["active_parameters"] = _latent_attention_parameters(config, fields)
    return fields


def assumed_from_class(config: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """The model type of a ``config.json`` and the shape fields that it leaves to the defaults of its class.

    Returns them by the name that transformers gives them; none for a class whose defaults are not known here.
    """
    tower = _text_tower(config)
    kind = str(tower.get("model_type") or config.get("model_type") or "").strip()
    return kind, {_NAMES[name][0]: value for name, value in class_defaults(tower, kind, _NAMES).items()}


def _check_size(config: object) -> None:
    entries, level = 0, [config]
    for _ in range(DEEPEST):
        deeper: list[object] = []
        for item in level:
            if isinstance(item, Mapping):
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
        entries += len(deeper)
        if entries > MOST_ENTRIES:
            raise ValueError(f"a config.json has at most {MOST_ENTRIES} entries")
        level = deeper
        if not level:
            return
    raise ValueError(f"a config.json is at most {DEEPEST} levels deep")


def _text_tower(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(DEEPEST):
        inner = next((config[name] for name in _TOWERS if isinstance(config.get(name), Mapping) and config[name]), None)
        if inner is None or "num_hidden_layers" in config or ("hidden_size" in config and not _says_shape(inner)):
            return config
        config = cast(Mapping[str, Any], inner)
    return config


def _says_shape(config: Mapping[str, Any]) -> bool:
    return any(name in config for name in (*_NAMES["layers"], *_TOWERS))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if value == 0 or SMALLEST <= value < 1e18 else None


def _first(config: Mapping[str, Any], name: str) -> float | None:
    for part in (config, config.get("ffn_config"), config.get("attn_config")):
        if not isinstance(part, Mapping):
            continue
        for spelling in _NAMES[name]:
            value = part.get(spelling)
            # OpenELM and the like give one value a layer: their mean does the same work.
            if isinstance(value, list) and value and all(_number(item) is not None for item in value):
                return sum(float(item) for item in value) / len(value)
            number = _number(value)
            if number:
                return number
    return None


def _read_towers(config: Mapping[str, Any], kind: str, fields: dict[str, object]) -> None:
    """Layers of encoder and decoder where a model has both; ``layers`` is then their sum."""
    encoder, decoder = _number(config.get("encoder_layers")), _number(config.get("decoder_layers"))
    if config.get("is_encoder_decoder") or kind in {"t5", "mt5", "umt5", "longt5", "switch_transformers"}:
        encoder = encoder or cast(float | None, fields.get("layers"))
        decoder = decoder or _number(config.get("num_decoder_layers")) or encoder
    if encoder and decoder:
        fields["encoder_layers"], fields["decoder_layers"], fields["layers"] = encoder, decoder, encoder + decoder


def _read_attention(config: Mapping[str, Any], kind: str, fields: dict[str, object]) -> None:
    heads, hidden = cast(float, fields["attention_heads"]), cast(float, fields["hidden_size"])
    nested = config.get("attn_config")
    if "kv_heads" not in fields and isinstance(nested, Mapping) and _number(nested.get("kv_n_heads")):
        fields["kv_heads"] = _number(nested["kv_n_heads"])
    multi_query = config.get("multi_query") and not config.get("new_decoder_architecture")
    if multi_query or (kind == "chatglm" and not config.get("multi_query_attention")):
        fields["kv_heads"] = 1.0 if multi_query else heads
    if cast(float, fields.setdefault("kv_heads", heads)) > heads and "num_key_value_heads" not in config:
        fields["kv_heads"] = heads  # a class's default for more heads than this model has
    if config.get("kv_lora_rank"):
        width = (_number(config.get("qk_nope_head_dim")) or 0.0) + (_number(config.get("qk_rope_head_dim")) or 0.0)
        if width:
            fields["head_dim"] = width
        fields["kv_heads"] = heads
    if fields.get("head_dim") == hidden / heads:
        del fields["head_dim"]
    fields.update(read_attention_layers(config, kind, cast(float, fields["layers"])))


def _read_feed_forward(config: Mapping[str, Any], kind: str, fields: dict[str, object]) -> None:
    hidden, layers = cast(float, fields["hidden_size"]), cast(float, fields["layers"])
    gating = str(config.get("feed_forward_proj") or config.get("hidden_act") or config.get("activation_function") or "")
    if "feed_forward_proj" in config or kind in {"t5", "mt5"}:
        fields["gated_mlp"] = gating.startswith("gated")
    else:
        fields["gated_mlp"] = kind not in _UNGATED and not gating.startswith("relu")
    dense_width = cast(float | None, fields.get("intermediate_size"))
    if dense_width is None and fields["gated_mlp"] is False:
        dense_width = fields["intermediate_size"] = 4.0 * hidden
    expert_width = cast(float | None, fields.pop("expert_width", None))
    if cast(float, fields.get("experts", 0.0)) <= 1:
        for name in ("experts", "experts_per_token", "shared_experts"):
            fields.pop(name, None)
        return
    fields["intermediate_size"] = expert_width or dense_width or 4.0 * hidden
    fields.setdefault("experts_per_token", 2.0 if kind == "mixtral" else 1.0)
    shared_width = _number(config.get("shared_expert_intermediate_size", config.get("shared_intermediate_size")))
    if shared_width and "shared_experts" not in fields:
        fields["shared_experts"] = shared_width / cast(float, fields["intermediate_size"])
    if kind.startswith("llama4"):
        fields.setdefault("shared_experts", 1.0)
    fields.setdefault("shared_experts", 0.0)
    fields["dense_layers"] = _dense_layers(config, layers)


def _dense_layers(config: Mapping[str, Any], layers: float) -> float:
    """Layers without experts: the first few, those named, or those between every nth."""
    for name in ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"):
        if (first := _number(config.get(name))) is not None:
            return min(first, layers)
    sparse = config.get("moe_layers")
    if isinstance(sparse, list):
        return max(layers - len(sparse), 0.0)
    steps = ["interleave_moe_layer_step", "decoder_sparse_step", "expert_layer_period", "moe_layer_interval"]
    step = next((number for name in steps if (number := _number(config.get(name)))), 1.0)
    named = config.get("mlp_only_layers")
    return min(layers - layers // step + (len(named) if isinstance(named, list) else 0), layers)


def _family(config: Mapping[str, Any], kind: str, fields: Mapping[str, object]) -> str:
    named = config.get("architectures")
    architectures = " ".join(str(name) for name in named) if isinstance(named, list) else ""
    if kind in _SPEECH:
        return "speech"
    if kind in _VISION:
        return "vit"
    if "decoder_layers" in fields:
        return "encoder_decoder"
    if cast(float, fields.get("experts", 0.0)) > 1:
        return "moe"
    if kind in _ENCODERS or (not kind and "MaskedLM" in architectures):
        return "encoder"
    return "decoder"


def _work_on_patches(config: Mapping[str, Any], fields: Mapping[str, object]) -> dict[str, float]:
    """Parameters and 10^9 multiply-accumulates of a vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929).

    Nothing where the file does not say how an image is cut.
    """
    side, patch = _number(config.get("image_size")), _number(config.get("patch_size"))
    if not side or not patch or not side >= patch:
        return {}
    hidden, layers = cast(float, fields["hidden_size"]), cast(float, fields["layers"])
    width = cast(float, fields.get("intermediate_size", 4.0 * hidden))
    tokens = (side // patch) ** 2 + 1.0
    of_layer = 4.0 * hidden**2 + (3.0 if fields["gated_mlp"] else 2.0) * hidden * width
    embedding = (_number(config.get("num_channels")) or 3.0) * patch**2 * hidden
    attended = 2.0 * tokens * hidden
    return {
        "parameters": layers * of_layer + embedding + tokens * hidden,
        "forward_gmacs": tokens * (layers * (of_layer + attended) + embedding) / 1e9,
    }


def _latent_attention_parameters(config: Mapping[str, Any], fields: Mapping[str, object]) -> tuple[float, float]:
    """All and active parameters with multi-head latent attention, embeddings included."""
    hidden, heads, layers = (cast(float, fields[name]) for name in ("hidden_size", "attention_heads", "layers"))
    rank_q, rank_kv = _number(config.get("q_lora_rank")), _number(config.get("kv_lora_rank")) or 0.0
    rope = _number(config.get("qk_rope_head_dim")) or 0.0
    nope = _number(config.get("qk_nope_head_dim")) or hidden / heads
    value = _number(config.get("v_head_dim")) or nope
    query = heads * (nope + rope) * (rank_q or hidden) + ((hidden + 1) * rank_q if rank_q else 0.0)
    attention = query + hidden * (rank_kv + rope) + rank_kv * (heads * (nope + value) + 1) + heads * value * hidden
    experts, active, shared = (
        cast(float, fields.get(name, 0.0)) for name in ("experts", "experts_per_token", "shared_experts")
    )
    dense_layers = cast(float, fields.get("dense_layers", layers if not experts else 0.0))
    expert = 3.0 * hidden * cast(float, fields["intermediate_size"])
    dense = 3.0 * hidden * (_first(config, "intermediate_size") or cast(float, fields["intermediate_size"]))
    vocabulary = cast(float, fields["vocab_size"]) * hidden * (1.0 if fields["tied_embeddings"] else 2.0)
    common = vocabulary + hidden + layers * (attention + 2.0 * hidden) + dense_layers * dense
    sparse = layers - dense_layers
    router = experts * (hidden + (1.0 if config.get("topk_method") == "noaux_tc" else 0.0))
    return (
        common + sparse * ((experts + shared) * expert + router),
        common + sparse * ((active + shared) * expert + router),
    )
