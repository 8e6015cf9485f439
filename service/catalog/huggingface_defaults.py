"""What a published ``config.json`` leaves out because its class says it: the defaults of transformers' classes.

Multimodal models above all state of their text tower only what differs from the class (Gemma 3, LLaVA).
Source: pypi:transformers-5.24.0, ``configuration_*.py`` of each model type; ``-`` is no default, or one that follows
from other fields (key-value heads as many as heads, head size the hidden size over them).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_COLUMNS = ("hidden_size", "layers", "attention_heads", "kv_heads", "head_dim", "intermediate_size", "vocab_size")
_TABLE = """
llama              4096 32 32   -   - 11008  32000
mistral            4096 32 32   8   - 14336  32000
ministral          4096 32 32   8   - 14336  32000
mixtral            4096 32 32   8   - 14336  32000
qwen2              4096 32 32  32   - 22016 151936
qwen2_moe          2048 24 16  16   -  5632 151936
qwen3              4096 32 32  32 128 22016 151936
qwen3_moe          2048 24 32   4   -  6144 151936
gemma              3072 28 16  16 256 24576 256000
gemma2             2304 26  8   4 256  9216 256000
gemma3_text        2304 26  8   4 256  9216 262208
phi                2048 24 32   -   -  8192  51200
phi3               3072 32 32   -   -  8192  32064
gpt2                768 12 12   -   -     -  50257
gpt_neo            2048 24 16   -   -     -  50257
gpt_neox           6144 44 64   -   - 24576  50432
gptj               4096 28 16   -   -     -  50400
codegen            4096 28 16   -   -     -  50400
opt                 768 12 12   -   -  3072  50272
falcon             4544 32 71   -   -     -  65024
mpt                2048 24 16   -   -     -  50368
stablelm           2560 32 32  32   -  6912  50304
cohere             8192 40 64   -   - 22528 256000
olmo               4096 32 32   -   - 11008  50304
olmo2              4096 32 32   -   - 11008  50304
granite            4096 32 32   -   - 11008  32000
glm4               4096 40 32   2 128 13696 151552
starcoder2         3072 30 24   2   - 12288  49152
nemotron           6144 32 48   -   - 24576 256000
gpt_oss            2880 36 64   8  64  2880 201088
bert                768 12 12   -   -  3072  30522
roberta             768 12 12   -   -  3072  50265
xlm-roberta         768 12 12   -   -  3072  30522
distilbert          768  6 12   -   -  3072  30522
electra             256 12  4   -   -  1024  30522
albert             4096 12 64   -   - 16384  30000
deberta-v2         1536 24 24   -   -  6144 128100
modernbert          768 22 12   -   -  1152  50368
t5                  512  6  8   -  64  2048  32128
mt5                 512  8  6   -  64  1024 250112
bart               1024 12 16   -   -  4096  50265
vit                 768 12 12   -   -  3072      -
clip_vision_model   768 12 12   -   -  3072      -
siglip_vision_model 768 12 12   -   -  3072      -
"""
_MIXTURES = {
    "mixtral": {"experts": 8.0, "experts_per_token": 2.0},
    "qwen2_moe": {"experts": 60.0, "experts_per_token": 4.0, "expert_width": 1408.0},
    "qwen3_moe": {"experts": 128.0, "experts_per_token": 8.0, "expert_width": 768.0},
    "gpt_oss": {"experts": 128.0, "experts_per_token": 4.0},
}


def _read_table() -> Mapping[str, Mapping[str, float]]:
    defaults: dict[str, Mapping[str, float]] = {}
    for line in _TABLE.split("\n"):
        if line:
            kind, *cells = line.split()
            stated = {name: float(cell) for name, cell in zip(_COLUMNS, cells, strict=True) if cell != "-"}
            defaults[kind] = MappingProxyType({**stated, **_MIXTURES.get(kind, {})})
    defaults["gemma3"] = defaults["gemma3_text"]
    return MappingProxyType(defaults)


CLASS_DEFAULTS = _read_table()


def class_defaults(config: Mapping[str, Any], kind: str, spellings: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Shape fields that ``config`` does not mention under any spelling and that its class says.

    Args:
        config: the text tower's configuration.
        kind: its ``model_type``.
        spellings: per shape field the names that configurations give it.
    """
    parts = [config, *(part for name in ("ffn_config", "attn_config") if isinstance(part := config.get(name), Mapping))]
    return {
        name: value
        for name, value in CLASS_DEFAULTS.get(kind, {}).items()
        if not any(spelling in part for part in parts for spelling in spellings[name])
    }
