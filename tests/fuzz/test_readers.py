"""Files that nobody vouches for are read or refused with a reason, whatever is in them."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.catalog.huggingface import _NAMES
from service.configuration import FIELDS
from service.launch_configs import READERS
from tests.conftest import Team
from tests.fuzz.targets import CHIP, TARGETS

numbers = (
    st.integers(-3, 200)
    | st.sampled_from([0, -1, 10**18, 10**400, 0.5, 1e-320, 1e308, float("inf"), float("nan")])
    | st.floats()
)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)

cells = st.sampled_from(["", "T4", "resnet-50", "3", "1e400", "-1", "nan", "mfu", '"', '"a"', '"a\nb"', "\0", "{}"])
lines = st.lists(cells | st.text(max_size=8), max_size=4).map(",".join)
headers = st.lists(st.sampled_from(FIELDS) | st.text(max_size=8), min_size=1, max_size=4).map(",".join)
rows = st.dictionaries(st.sampled_from(FIELDS), anything, max_size=3) | anything

SHAPE = {
    "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "vocab_size": 9000, "intermediate_size": 999,
}  # fmt: skip
spellings = [spelling for names in _NAMES.values() for spelling in names]
entries = [
    *spellings, "model_type", "architectures", "text_config", "ffn_config", "attn_config", "layer_types",
    "layers_block_type", "hybrid_override_pattern", "attn_layer_indices", "attn_type_list", "attn_layer_period",
    "attn_layer_offset", "full_attention_interval", "sliding_window", "sliding_window_pattern", "max_window_layers",
    "attention_chunk_size", "use_sliding_window", "kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim",
    "v_head_dim", "encoder_layers", "decoder_layers", "is_encoder_decoder", "first_k_dense_replace", "moe_layers",
    "mlp_only_layers", "decoder_sparse_step", "shared_expert_intermediate_size", "tie_word_embeddings", "hidden_act",
    "feed_forward_proj", "multi_query", "new_decoder_architecture", "topk_method",
]  # fmt: skip
kinds = st.sampled_from(["", "llama", "gpt2", "bert", "t5", "mixtral", "deepseek_v3", "gemma3", "qwen2_moe", "chatglm"])
configs = st.builds(
    lambda shape, changed, kind: shape | {"model_type": kind} | changed,
    st.just(SHAPE),
    st.dictionaries(st.sampled_from(entries), anything | numbers, max_size=5),
    kinds,
)

MEGATRON = ["--num-layers", "--hidden-size", "--moe-ffn-hidden-size", "--num-experts", "--train-iters", "--nnodes"]
words = st.sampled_from([*MEGATRON, "=", "$A", "${A:-3}", "${", "A=3\n", "\n", "[", "....", "\\\n", "#", "'"])
flags = st.lists(words | numbers.map(str) | st.text(max_size=5), max_size=12).map(" ".join)
options = st.sampled_from([
    "training.local_batch_size", "training.dataset", "training.steps", "training.seq_len", "model.name", "model.flavor",
    "model.converters", "parallelism.tensor_parallel_degree", "parallelism.data_parallel_shard_degree",
    "quantize.float8.recipe_name", "optimizer.name", "training.mixed_precision_param", "activation_checkpoint.mode",
])  # fmt: skip
toml_values = st.sampled_from(
    ["1", "-1", "0.5", "nan", "inf", "[1]", "true", "'llama3'", "1979-05-27", "0x" + "f" * 5000]
)
toml = st.dictionaries(options, toml_values | numbers.map(str), max_size=5).map(
    lambda given: "\n".join(f"{name} = {value}" for name, value in given.items())
)
deepspeed = st.dictionaries(
    st.sampled_from(["train_batch_size", "optimizer", "zero_optimization", "bf16", "compile", "tensor_parallel"]),
    anything | st.dictionaries(st.sampled_from(["stage", "type", "enabled", "autotp_size"]), anything, max_size=3),
    max_size=4,
)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


@given(st.builds(lambda first, rest: encoded("\n".join([first, *rest])), headers, st.lists(lines, max_size=6)))
def test_any_csv_is_read_or_refused(content: bytes) -> None:
    TARGETS["csv"](content)


@given(st.lists(rows.map(json.dumps) | st.text(max_size=12), max_size=5).map(lambda found: encoded("\n".join(found))))
def test_any_ndjson_is_read_or_refused(content: bytes) -> None:
    TARGETS["ndjson"](content)


@settings(max_examples=200)
@given(configs)
@example(SHAPE | {"architectures": 5})
@example(SHAPE | {"sliding_window": 8, "max_window_layers": 10**400})
def test_any_published_model_configuration_is_read_or_refused(config: dict[str, Any]) -> None:
    TARGETS["config"](json.dumps(config).encode())


@settings(max_examples=200)
@given(st.sampled_from(list(READERS)), flags | toml | (configs | deepspeed | anything).map(json.dumps))
def test_any_launch_configuration_is_read_or_refused(kind: str, text: str) -> None:
    TARGETS[kind](encoded(text))


@pytest.mark.parametrize("kind", list(TARGETS))
@pytest.mark.parametrize("repeated", ["[", '{"a":', "${A:-", "\n", "[\n", '"\n', ",", "c,", " x", "A=\n", "#", "a .. "])
def test_long_and_deep_files_end_soon(kind: str, repeated: str) -> None:
    """Each would take minutes to hours, or all memory, if its cost grew faster than its length."""
    TARGETS[kind](repeated.encode() * 100_000)


@settings(max_examples=60)
@given(configs)
@example(SHAPE | {"architectures": 5})
def test_the_service_answers_whatever_model_configuration_is_pasted(
    client: httpx.Client, config: dict[str, Any]
) -> None:
    body = {"model": {"huggingface_config": config}, "hardware": {"accelerator": CHIP}}
    answer = client.post("/v1/estimates", content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 422), answer.text


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800"])
def test_what_a_database_cannot_hold_is_refused_by_all_alike(ours: Team, text: str) -> None:
    """PostgreSQL's `jsonb` refuses both, where SQLite takes them."""
    config = json.dumps(SHAPE)[:-1] + f', "note": "{text}"}}'
    body = f'{{"model": {{"huggingface_config": {config}}}, "hardware": {{"accelerator": "{CHIP}"}}, "save": true}}'
    answer = ours.http.post("/v1/estimates", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "model.huggingface_config"


@pytest.mark.parametrize(
    ("path", "content_type", "content"),
    [
        ("/v1/estimates", "application/json", b'{"\\ud800": 1}'),
        ("/v1/estimates", "application/json", b'{"hardware": {"accelerator": "\\udfff"}}'),
        ("/v1/estimates/batch", "application/x-ndjson", b'{"\\ud800": 1}\n\xff\n'),
        ("/v1/evaluations?by=model.name", "text/csv", b"\x89PNG\n1\n"),
        ("/v1/evaluations", "text/csv", b"\x89PNG\n1\n"),
        ("/v1/measurements/import", "text/csv", b"\x89PNG\n1\n"),
        ("/v1/measurements/import", "text/csv", b"model.name,\x89\nx,1\n"),
        ("/v1/measurements/import", "application/x-ndjson", b'{"\\ud800": 1}\n\xff\n'),
    ],
)
def test_half_characters_are_refused_in_whole_ones(ours: Team, path: str, content_type: str, content: bytes) -> None:
    answer = ours.http.post(path, content=content, headers={"content-type": content_type})
    assert answer.status_code in (200, 415, 422), answer.text
    assert answer.text


@pytest.mark.parametrize("count", [1e-320, 1e-9, 1e24])
def test_counts_at_the_ends_of_their_range_are_answered_or_refused(client: httpx.Client, count: float) -> None:
    """Whose ratios and products must not become infinite."""
    body = {
        "model": {"parameters": count, "layers": count, "hidden_size": count},
        "data": {"tokens": count, "sequence_length": count},
        "hardware": {"accelerator": CHIP, "count": count},
    }
    for field in ("global_batch", "micro_batch", "gradient_accumulation", "data_parallel"):
        for other in (1.0, 1e-9, 1e24):
            answer = client.post("/v1/estimates", json=body | {"training": {field: other}})
            assert answer.status_code in (200, 422), answer.text
