"""Activations that the backward pass needs, counted tensor by tensor: bytes on the fullest accelerator.

Korthikanti et al. 2022 (arXiv 2205.05198), section 4: eq. 1 and 2 without, 4 with sequence parallelism; section 4.2.3
for interleaved pipelines; section 5 for recomputation.
"""

from __future__ import annotations

import numpy as np

from service.engine import operations
from service.engine.step_inputs import ADAPTER_MODES, FUSED_ATTENTION, Inputs, recomputed_share, stage_layers
from service.engine.table import BoolArray, FloatArray, Table, filled, once_a_table

# Frameworks whose layers are fused for pre-training, by hand or by their compiler (XLA), or whose norms and losses keep
# half precision (github:mosaicml/llm-foundry: low_precision_layernorm, fused_crossentropy).
FUSED_FRAMEWORKS = (*operations.FUSED_LAYER_FRAMEWORKS, "maxtext", "jax", "alpa", "tensorflow", "llm-foundry")
SEQUENCE_PARALLEL_SINCE = 2022.5  # Korthikanti et al., May 2022; in Megatron-LM from that summer
# Bytes per token and word: half precision, and fp32 whose buffer the gradient takes over, in the cross-entropies of
# pre-training; the half-precision logits, their fp32 copy, its shifted copy, log-softmax and a gradient in plain ones.
FUSED_LOGIT_BYTES = 6.0
LOGIT_BYTES = 18.0
# Elements kept for each that a convolution or projection writes. A trained norm keeps its input, and the layer behind
# it what the activation made of that: two. Swish and hard-swish, usual around depthwise convolutions, keep their own
# input besides: three. Frozen norms keep nothing, so that only layer inputs and a detector's heads remain; nor is kept
# what a compiler computes again. The timm rows bear it out: their batch was lowered in steps of 2/3 and 3/4 until
# 24 GiB held it, so that the next larger one did not fit. With the peaks of 1,221 of them taken halfway between, this
# counts 2 % too little (17 % mean deviation; 1.25 for all models counts 39 % too little).
KEPT_BY_TRAINED_NORM, KEPT_BY_SWISH, KEPT_BY_FROZEN_NORM = 2.0, 3.0, 1.25
KEPT_WHEN_COMPILED = 1.0
TRAINED_NORM_FAMILIES = ("cnn", "vit", "segmentation")
DEPTHWISE_MACS_PER_ELEMENT = 224.0  # fewer multiply-accumulates for each element written: depthwise convolutions
# XLA keeps the inputs of matrix products and computes element-wise operations again in the backward pass.
RECOMPUTING_COMPILERS = ("jax", "alpa")
# The peak of unpacked fine-tuning is set by the longest samples, not by the mean; judgement, up to where texts are cut.
LONGEST_OVER_MEAN = 2.5
UNCOUNTED_LAYERS = 16.0  # of a model whose layers nobody counted: residual blocks of ResNet-50
FROZEN_KEPT = 0.1  # of the activations, where only what feeds the trained head is kept; judgement, nothing measures it


@once_a_table
def is_fused(table: Table) -> BoolArray:
    """Whether layers run as fused kernels, shape (n,): by framework, and wherever FP8 is, which only such layers have.

    Of an unnamed framework, pre-training is taken to be fused and fine-tuning not.
    """
    named = table.among("framework", FUSED_FRAMEWORKS) | (
        table.among("framework", ("",)) & table.among("mode", ("pretrain",))
    )
    result: BoolArray = named | _is_fp8(table)
    return result


@once_a_table
def _is_fp8(table: Table) -> BoolArray:
    return table.among("precision", ("fp8", "fp4"))


def longest_tokens(inputs: Inputs) -> FloatArray:
    """Tokens of the longest sample that a micro-batch is padded to, shape (n,)."""
    table, mean = inputs.table, inputs.work.tokens
    unpacked = table.among("mode", ("finetune", *ADAPTER_MODES)) & table.among("packing", ("", "none"))
    unpacked = unpacked & ~table.among("family", ("encoder",))  # whose stated length is what samples are padded to
    limit = np.where(table["maximum_length"] > 0, table["maximum_length"], np.where(mean < 1024, np.inf, mean))
    longest = np.maximum(np.minimum(LONGEST_OVER_MEAN * mean, limit), mean)
    result: FloatArray = np.where(unpacked, longest, mean)
    return result


def activation_bytes(inputs: Inputs, half: BoolArray, language: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Bytes kept for the backward pass by layers and by the vocabulary head, shape (n,) each."""
    table, work, layout = inputs.table, inputs.work, inputs.layout
    tensor, pipeline = layout.tensor, layout.pipeline
    layers = filled(table["layers"], 0.0)
    hidden = filled(table["hidden_size"], 0.0)
    again = recomputed_share(table)
    longest = longest_tokens(inputs)
    tokens = layout.micro_batch * longest / layout.context
    shared = np.where(_shares_sequence(table), tensor, 1.0)
    width = np.where(half, 1.0, 2.0)
    per_layer = tokens * width * _layer_bytes(inputs, tensor, shared, longest)
    kept_full = tokens * width * 2.0 * hidden / shared
    # 1F1B keeps as many micro-batches in flight on the first stage as there are stages; interleaving keeps some more.
    virtual = np.maximum(filled(table["virtual_pipeline"], 1.0), 1.0)
    ahead = np.where(virtual > 1, 1.0 + (pipeline - 1.0) / (pipeline * virtual), 1.0)
    flight = np.minimum(pipeline * ahead, layout.micro_batches)
    once = np.where(again > 0, per_layer, 0.0)
    kept = (again * kept_full + (1.0 - again) * per_layer) * stage_layers(layers, pipeline)
    vocabulary = filled(table["vocab_size"], 0.0)
    in_place = is_fused(table) | table.among("mode", ("pretrain",))
    logit_bytes = np.where(in_place, FUSED_LOGIT_BYTES, LOGIT_BYTES)
    predicted = tokens * operations.predicted_share(table)
    logits = np.where(language & (vocabulary > 0), predicted * vocabulary / tensor * logit_bytes, 0.0)
    # The last stage holds the logits and keeps one micro-batch: they count by what they exceed the first stage's rest.
    logits = np.maximum(logits - np.where(pipeline > 1, kept * np.maximum(flight - 1.0, 0.0), 0.0), 0.0)
    # They are gone before the first layer is computed again.
    once = np.maximum(once - logits, 0.0)
    convolution = layout.micro_batch * work.elements * np.where(half, 2.0, 4.0) * _kept_per_written(inputs)
    shaped = language & (work.score_elements > 0)
    # Recomputed in as many segments as each has layers, of n layers 2 sqrt(n) are held (Chen et al. 2016, arXiv
    # 1604.06174, section 4).
    segmented = np.minimum(2.0 / np.sqrt(np.maximum(filled(table["layers"], UNCOUNTED_LAYERS), 1.0)), 1.0)
    convolution = convolution * (1.0 - again * (1.0 - segmented))
    activations = np.where(shaped, kept * flight + once, convolution)
    return np.where(table.among("mode", ("frozen",)), FROZEN_KEPT, 1.0) * activations, np.where(shaped, logits, 0.0)


def _kept_per_written(inputs: Inputs) -> FloatArray:
    """Elements that models other than Transformers keep for each one that their layers write, shape (n,)."""
    table, work = inputs.table, inputs.work
    depthwise = table.among("family", ("cnn",)) & (0.5 * work.gemm_flops < DEPTHWISE_MACS_PER_ELEMENT * work.elements)
    trained = np.where(depthwise, KEPT_BY_SWISH, KEPT_BY_TRAINED_NORM)
    compiled = (table["compile"] == 1.0) | table.among("framework", RECOMPUTING_COMPILERS)
    kept = np.where(compiled, KEPT_WHEN_COMPILED, trained)
    return np.where(table.among("family", TRAINED_NORM_FAMILIES), kept, KEPT_BY_FROZEN_NORM)


def _shares_sequence(table: Table) -> BoolArray:
    """Whether tensor-parallel ranks share norms and layer inputs too (sequence parallelism)."""
    year = table["year"]
    return np.isnan(year) | (year >= SEQUENCE_PARALLEL_SINCE)


def _layer_bytes(inputs: Inputs, tensor: FloatArray, shared: FloatArray, longest: FloatArray) -> FloatArray:
    """Bytes of one layer per token at two bytes an element, without dropout masks, which language models gave up."""
    table, work = inputs.table, inputs.work
    hidden = filled(table["hidden_size"], 0.0)
    layers = np.maximum(filled(table["layers"], 0.0), 1.0)
    intermediate = np.where(table["intermediate_size"] > 0, table["intermediate_size"], 4.0 * hidden)
    experts = filled(table["experts"], 0.0) > 0
    routed = np.where(experts, np.maximum(filled(table["experts_per_token"], 0.0), 1.0), 0.0)
    blocks = np.where(experts, routed + filled(table["shared_experts"], 0.0), 1.0)
    # Inputs of two norms 4 h; of the projections behind them 4 h, or 2 h in FP8, which adds a copy of what is attended.
    # Queries, keys, values and the attended; in the feed-forward block what goes in and out of the activation.
    # Experts get a copy of each token that they are sent, and hand one back: 4 h for each.
    query, key = operations.attention_heads_width(table)
    query, key = filled(query, 0.0), filled(key, 0.0)
    fp8 = _is_fp8(table)
    stored = np.where(fp8, 1.0, 2.0)
    activated = np.where(table["gated_mlp"] == 1.0, 4.0, 2.0)
    inner = np.where(fp8, 5.0, 4.0) * query + 4.0 * key + 4.0 * hidden * routed
    inner = inner + (activated + stored) * intermediate * blocks
    unfused = ~(table.among("attention", FUSED_ATTENTION) | table.among("recompute", ("selective",)))
    # 5 bytes per score at two bytes an element: softmax, its dropout, the mask. Scores grow with the padded length.
    scores = 5.0 * work.score_elements / (np.maximum(work.tokens, 1.0) * layers)
    scores = scores * longest / np.maximum(work.tokens, 1.0)
    result: FloatArray = (4.0 + 2.0 * stored) * hidden / shared + (inner + np.where(unfused, scores, 0.0)) / tensor
    return result
