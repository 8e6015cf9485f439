"""What one training sample costs before any hardware is chosen: FLOPs, bytes, kernels, parameters.

Formulas: matrix FLOPs of a Transformer layer and of its vocabulary head as in Narayanan et al. 2021 (arXiv 2104.04473,
section 5.1, eq. 3, without recomputation); activation elements per layer as in Korthikanti et al. 2022 (arXiv
2205.05198, section 4.1); convolutional families by their published multiply-accumulates and activation counts.
One multiply-accumulate is two FLOPs throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.engine.table import BoolArray, FloatArray, IntArray, Table, clipped, filled, once_a_table

TRANSFORMER_FAMILIES = frozenset({"decoder", "encoder", "moe", "encoder_decoder"})
# Families whose weights are each used once a token, so that their number tells the work; what is of no family but has
# tokens is mostly a language model with eyes or ears.
COUNTED_BY_PARAMETERS = TRANSFORMER_FAMILIES | {"vit", "speech", "rnn", "other"}
# T5-style span corruption feeds the decoder about a quarter of the encoder's tokens: 512 against 114, rounded up to 128
# in NeMo's configurations (Raffel et al. 2020, arXiv 1910.10683, section 3.1.4).
DECODER_TOKENS_PER_ENCODER_TOKEN = 0.25
# Residual adds, norms, gate, dropout and projections written per token and layer, in multiples of the hidden size;
# Korthikanti et al. 2022 count 34 bytes at 2 bytes an element.
ELEMENTS_PER_TOKEN_LAYER = 17.0
# Forward launches of an eager layer: 4 to 7 GEMMs, 2 norms of several kernels, rotary embedding (about 10), attention,
# gate, residuals, casts, copies. The ultrascale rows with one stage and micro-batch 1 take 4.5 ms a layer, forward and
# backward, whatever the tensor degree (2, 4, 8) and hidden size (2048, 4096): the host sets their pace.
KERNELS_PER_TRANSFORMER_LAYER = 40.0
# A layer whose kernels were fused by hand: 4 GEMMs, 2 norms, attention, rotary embedding, gate, 2 residuals with bias
# and dropout, and a few splits and transposes. Judgement, by how Megatron builds its layers; no profile was taken.
KERNELS_PER_FUSED_LAYER = 16.0
FUSED_LAYER_FRAMEWORKS = (
    "megatron-lm",
    "megatron-deepspeed",
    "megatron-bridge",
    "nemo",
    "transformer-engine",
    "internevo",
    "mindspeed-llm",
    "mindspeed",
)
KERNELS_PER_ROUTING = 28.0  # more of a layer with experts: router, permutation, grouped products; judgement
# Forward launches of models whose own count is not in the catalog: operations that write anything, counted on PyTorch
# definitions in training mode. Medians of the counted convolutional nets and vision Transformers; torchvision's
# DeepLab, FCN and LR-ASPP (181 to 214); its Faster and Mask R-CNN, RetinaNet, FCOS and SSD (150 to 460 and 74 to 156 an
# image); DLRM's two small perceptrons, look-ups and interaction. Judgement: Stable Diffusion's U-Net, from its blocks.
TYPICAL_KERNELS = {
    "cnn": 292.0,
    "vit": 427.0,
    "segmentation": 200.0,
    "detection": 400.0,
    "diffusion": 750.0,
    "recommender": 30.0,
}
KERNELS_PER_LAYER = 2.0  # forward launches of a single layer, as kernel benchmarks time them
KERNELS_PER_OTHER = 160.0
KERNELS_PER_DETECTED_IMAGE = 100.0  # detectors match, sample and crop image by image,
BATCHED_FRAMEWORKS = ("mxnet", "tensorflow", "jax")  # but for those of frameworks whose shapes are fixed beforehand
RECURRENT_KERNELS = 0.7  # launches per layer and time step: vendor kernels fuse gates and run wavefronts of layers
# Of a recurrent layer's matrix products, the forward pass and the input's gradient of the recurrent matrix go step by
# step; its weights' gradient and all products with the layer's inputs are batched over time (Appleyard et al. 2016,
# arXiv 1604.01946, section 3). Inputs and state are about equally wide in stacked layers.
STEPWISE_PASSES = 2.0 / 3.0
RECURRENT_SHARE = 0.5
# Times an output element is written or read per training step: convolution 2 forward and 4 backward, and 13 more by the
# normalisation and activation around it (statistics, normalise, clip, and their gradients), which a bare layer lacks.
BARE_LAYER_TRAFFIC = 6.0 / 19.0
ACTIVE_TOLERANCE = 1.1  # counted over published active parameters that rounding explains ("active 22B")
# Encoders predict the tokens that were masked, 15 % of all (Devlin et al. 2019, arXiv 1810.04805, section 3.1), and the
# reference code gathers them before the vocabulary's head; fine-tuning puts a small head of its own in its place.
MASKED_SHARE = 0.15
LEAST_DENSE_SHARE = 0.3  # judgement: hybrid stacks keep a mixer in every layer
PIXELS_PER_TOKEN = 16.0  # side of the patch that a mid-network feature map stands for


@dataclass(frozen=True, eq=False)
class Work:
    """Cost of one sample, forward pass; arrays of shape (n,)."""

    gemm_flops: FloatArray  # dense, expert, convolution and recurrent matrix products, vocabulary head included
    attention_flops: FloatArray  # scores and weighted sums, not halved for causality
    head_flops: FloatArray  # part of gemm_flops spent on the vocabulary head
    expert_flops: FloatArray  # part of gemm_flops spent in routed experts
    elements: FloatArray  # activation elements written by memory-bound kernels
    score_elements: FloatArray  # elements of the attention score matrices (heads x s x s over all layers)
    kernels: FloatArray  # kernel launches of one forward pass, whatever the batch
    sample_kernels: FloatArray  # further launches of one forward pass for every sample of the batch
    sequential_steps: FloatArray  # time steps that must run one after another (recurrent nets), else 1
    stepwise_share: FloatArray  # of matrix products and of weights, what each time step needs anew; 0 if not recurrent
    tokens: FloatArray  # rows that one sample adds to a GEMM's M dimension
    width: FloatArray  # typical N and K dimension of the GEMMs
    parameters: FloatArray  # parameters that are stored
    dense_parameters: FloatArray  # parameters outside routed experts
    known: BoolArray  # False where neither shape, parameters nor GMACs are known: work is a family's typical one

    def take(self, index: IntArray) -> Work:
        """The rows at `index`."""
        return Work(**{name: column[index] for name, column in vars(self).items()})


@once_a_table
def attention_heads_width(table: Table) -> tuple[FloatArray, FloatArray]:
    """Columns of the query projection and of one key (or value) projection, shape (n,) each."""
    hidden = table["hidden_size"]
    heads = np.where(table["attention_heads"] > 0, table["attention_heads"], np.maximum(hidden / 128.0, 1.0))
    head_dim = np.where(table["head_dim"] > 0, table["head_dim"], hidden / heads)
    kv_heads = np.where(table["kv_heads"] > 0, table["kv_heads"], heads)
    return heads * head_dim, kv_heads * head_dim


@once_a_table
def layer_parameters(table: Table) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weights of one layer: (attention, one dense feed-forward block, one expert), each of shape (n,).

    Gated feed-forward blocks have three matrices, others two. `intermediate_size` is that of one expert in MoE models.
    """
    hidden = table["hidden_size"]
    query, key = attention_heads_width(table)
    intermediate = np.where(table["intermediate_size"] > 0, table["intermediate_size"], 4.0 * hidden)
    matrices = np.where(table["gated_mlp"] == 1.0, 3.0, 2.0)
    feed_forward = matrices * hidden * intermediate
    return hidden * (2.0 * query + 2.0 * key), feed_forward, feed_forward


@once_a_table
def predicted_share(table: Table) -> FloatArray:
    """Share of a sample's tokens that go through the vocabulary's head, shape (n,)."""
    masked = np.where(table.among("mode", ("pretrain",)), MASKED_SHARE, 0.0)
    return np.where(table.among("family", ("encoder",)), masked, 1.0)


def parameter_count(table: Table) -> FloatArray:
    """Parameters computed from the shape, shape (n,); NaN where layers or hidden size are unknown.

    Embedding (twice where not tied), attention, feed-forward or experts with router, norms; biases are left out
    (under 0.1 %). Encoder-decoder models carry cross-attention in each decoder layer.
    """
    hidden, layers = table["hidden_size"], _all_layers(table)
    attention, dense, expert = layer_parameters(table)
    experts = filled(table["experts"], 0.0)
    shared = filled(table["shared_experts"], 0.0)
    dense_layers = np.where(experts > 0, filled(table["dense_layers"], 0.0), layers)
    # DeepSeek-style models give their few dense layers a feed-forward block as wide as all active experts together.
    dense_block = np.where(
        (experts > 0) & (dense_layers > 0), dense * (filled(table["experts_per_token"], 0.0) + shared), dense
    )
    sparse_layers = np.maximum(layers - dense_layers, 0.0)
    per_layer_norms = 2.0 * hidden
    cross = np.where(table.among("family", ("encoder_decoder",)), filled(table["decoder_layers"], 0.0), 0.0)
    vocabulary = filled(table["vocab_size"], 0.0) * hidden * np.where(table["tied_embeddings"] == 1.0, 1.0, 2.0)
    total: FloatArray = (
        vocabulary
        + layers * (attention + per_layer_norms)
        + cross * attention
        + dense_layers * dense_block
        + sparse_layers * ((experts + shared) * expert + experts * hidden)
    )
    return total


@once_a_table
def work(table: Table) -> Work:
    """Cost of one sample of every configuration; see `Work`."""
    transformer = table.among("family", TRANSFORMER_FAMILIES)
    shaped = transformer & (table["hidden_size"] > 0) & (_all_layers(table) > 0) & (table["sequence_length"] > 0)
    if shaped.all():
        return _transformer_work(table)
    by_macs = _convolution_work(table)
    by_shape = _transformer_work(table) if shaped.any() else by_macs
    recurrent = table.among("family", ("rnn",)) & (table["sequence_length"] > 0)

    def choose(a: FloatArray, b: FloatArray) -> FloatArray:
        return np.where(shaped, a, b)

    steps = np.where(recurrent & (table["layers"] > 0), table["sequence_length"], 1.0)
    return Work(
        gemm_flops=choose(by_shape.gemm_flops, by_macs.gemm_flops),
        attention_flops=choose(by_shape.attention_flops, by_macs.attention_flops),
        head_flops=choose(by_shape.head_flops, by_macs.head_flops),
        expert_flops=choose(by_shape.expert_flops, by_macs.expert_flops),
        elements=choose(by_shape.elements, by_macs.elements),
        score_elements=choose(by_shape.score_elements, by_macs.score_elements),
        kernels=np.where(
            steps > 1,
            RECURRENT_KERNELS * filled(table["layers"], 1.0) * steps,
            choose(by_shape.kernels, by_macs.kernels),
        ),
        sample_kernels=np.where(
            table.among("family", ("detection",)) & ~table.among("framework", BATCHED_FRAMEWORKS),
            KERNELS_PER_DETECTED_IMAGE,
            0.0,
        ),
        sequential_steps=steps,
        stepwise_share=np.where(
            steps > 1, STEPWISE_PASSES * np.where(table["layers"] == 1.0, 1.0, RECURRENT_SHARE), 0.0
        ),
        tokens=np.where(steps > 1, 1.0, choose(by_shape.tokens, by_macs.tokens)),
        width=choose(by_shape.width, np.where(table["hidden_size"] > 0, table["hidden_size"], by_macs.width)),
        parameters=choose(by_shape.parameters, by_macs.parameters),
        dense_parameters=choose(by_shape.dense_parameters, by_macs.dense_parameters),
        known=shaped | by_macs.known,
    )


def is_albert(table: Table) -> BoolArray:
    """Which models are of the ALBERT kind, shape (n,): their layers share one layer's weights."""
    models = table.texts["model"]
    return models.among({name for name in models.vocabulary if "albert" in name})


@once_a_table
def _all_layers(table: Table) -> FloatArray:
    """Layers of the whole model: encoder plus decoder where both are stated."""
    both = filled(table["encoder_layers"], 0.0) + filled(table["decoder_layers"], 0.0)
    two_towers = table.among("family", ("encoder_decoder",)) & (both > 0)
    return np.where(two_towers, both, table["layers"])


def _transformer_work(table: Table) -> Work:
    hidden, sequence, layers = table["hidden_size"], table["sequence_length"], _all_layers(table)
    query, _ = attention_heads_width(table)
    attention, dense, expert = layer_parameters(table)
    experts = filled(table["experts"], 0.0)
    active = np.where(experts > 0, filled(table["experts_per_token"], 0.0), 0.0)
    shared = filled(table["shared_experts"], 0.0)
    dense_layers = np.where(experts > 0, filled(table["dense_layers"], 0.0), layers)
    dense_block = np.where((experts > 0) & (dense_layers > 0), dense * (active + shared), dense)
    sparse_layers = np.maximum(layers - dense_layers, 0.0)

    encoder_decoder = table.among("family", ("encoder_decoder",))
    decoder_share = np.where(
        layers > 0, np.where(encoder_decoder, filled(table["decoder_layers"], 0.0), 0.0) / layers, 0.0
    )
    decoder_share = np.where(encoder_decoder & (decoder_share == 0), 0.5, decoder_share)
    # average tokens a layer sees, per token of the stated sequence
    decoder_tokens = np.where(sequence >= 256, DECODER_TOKENS_PER_ENCODER_TOKEN, 1.0)
    layer_tokens = (1.0 - decoder_share) + decoder_share * decoder_tokens
    expert_weights = sparse_layers * active * expert
    body = (
        layers * attention * (1.0 + decoder_share)
        + dense_layers * dense_block
        + sparse_layers * shared * expert
        + sparse_layers * experts * hidden
    )
    computed = parameter_count(table)
    stated = table["parameters"]
    parameters = np.where(stated > 0, stated, computed)
    # A stated parameter count wins over a shape whose feed-forward or heads had to be assumed.
    # So it does over one whose layers are of several kinds, few of which attend.
    hybrid = table["attention_layers"] < layers
    guessed = (hybrid | ~(table["intermediate_size"] > 0)) & (experts == 0) & (stated > 0) & (computed > 0)
    vocabulary = filled(table["vocab_size"], 0.0) * hidden
    embeddings = vocabulary * np.where(table["tied_embeddings"] == 1.0, 1.0, 2.0)
    # ALBERT shares one layer's weights: its parameters say nothing about its work.
    shared_layers = is_albert(table)
    scale = np.where(
        guessed & ~shared_layers,
        clipped((stated - embeddings) / np.maximum(computed - embeddings, 1.0), 0.4, 2.5),
        1.0,
    )
    expert_weights, body = _held_to_active(table, expert_weights, body, vocabulary)
    predicted = sequence * np.where(encoder_decoder, decoder_tokens, predicted_share(table))
    head_flops = 2.0 * vocabulary * predicted
    seen = _attended(table, layers, sequence)
    expert_flops = 2.0 * expert_weights * sequence
    gemm_flops = 2.0 * body * scale * sequence * layer_tokens + expert_flops + head_flops
    attention_flops = 4.0 * query * sequence * seen * layer_tokens
    heads = np.where(table["attention_heads"] > 0, table["attention_heads"], np.maximum(hidden / 128.0, 1.0))
    return Work(
        gemm_flops=gemm_flops,
        attention_flops=attention_flops,
        head_flops=head_flops,
        expert_flops=expert_flops,
        elements=sequence * layers * hidden * ELEMENTS_PER_TOKEN_LAYER * layer_tokens
        + 2.0 * predicted * vocabulary / np.maximum(hidden, 1.0),
        score_elements=heads * sequence * seen * layer_tokens,
        kernels=layers * _layer_kernels(table, experts) + 28.0,
        sample_kernels=np.zeros(len(table)),
        sequential_steps=np.ones(len(table)),
        stepwise_share=np.zeros(len(table)),
        tokens=sequence,
        width=hidden,
        parameters=parameters,
        dense_parameters=np.maximum(parameters - sparse_layers * experts * expert, 0.05 * parameters),
        known=np.ones(len(table), dtype=bool),
    )


def _layer_kernels(table: Table, experts: FloatArray) -> FloatArray:
    """Launches of one layer's forward pass, shape (n,)."""
    fused = table.among("framework", FUSED_LAYER_FRAMEWORKS)
    kernels = np.where(fused, KERNELS_PER_FUSED_LAYER, KERNELS_PER_TRANSFORMER_LAYER)
    return kernels + np.where(experts > 0, KERNELS_PER_ROUTING, 0.0)


def _attended(table: Table, layers: FloatArray, sequence: FloatArray) -> FloatArray:
    """Tokens that one token attends to, summed over layers and not halved for causality, shape (n,)."""
    attending = np.where(table["attention_layers"] >= 0, np.minimum(table["attention_layers"], layers), layers)
    window = np.where(table["sliding_window"] > 0, np.minimum(table["sliding_window"], sequence), sequence)
    limited = np.where(table["windowed_layers"] >= 0, np.minimum(table["windowed_layers"], attending), attending)
    return np.asarray(limited * window + (attending - limited) * sequence)


def _held_to_active(
    table: Table, experts: FloatArray, body: FloatArray, vocabulary: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weights that a token meets in routed experts and elsewhere, held to the published active parameters, shape (n,).

    Low-rank attention projections and hybrid stacks, of which only some layers attend or hold experts, make the plain
    shape count up to four times too much. What is beyond the published count is taken off the dense part down to
    `LEAST_DENSE_SHARE` of it, then off the experts.
    """
    active = table["active_parameters"] - vocabulary * np.where(table["tied_embeddings"] == 1.0, 1.0, 2.0)
    too_much = (filled(table["experts"], 0.0) > 0) & (active > 0) & (experts + body > ACTIVE_TOLERANCE * active)
    dense = np.maximum(active - experts, LEAST_DENSE_SHARE * body)
    routed = np.minimum(experts, np.maximum(active - dense, 0.0))
    return np.where(too_much, routed, experts), np.where(too_much, dense, body)


# Where a row's model states no work at all, a typical figure of GMACs per sample stands in and the model's own effect
# (wide prior) does the rest. Medians of the family's models that the shipped measurements train and the catalog knows
# the GMACs of; where there are none, a round figure: a small graph net.
TYPICAL_GMACS = {
    "cnn": 4.28,
    "vit": 9.63,
    "rnn": 3.19,
    "diffusion": 402.0,
    "detection": 338.0,
    "segmentation": 150.0,
    "speech": 18.3,
    "recommender": 0.00241,
    "other": 5.62,
    "gnn": 1.0,
}
TYPICAL_PARAMETERS = 3.0e7
# Parameters that a token meets, of language models: medians of the catalog's 441.
TYPICAL_LANGUAGE_PARAMETERS = {"encoder": 1.5e8, "decoder": 7.2e9, "moe": 1.3e10, "encoder_decoder": 6.8e8}
TYPICAL_IMAGE = 224.0  # pixels a side that the medians of image classifiers are stated for
ACTIVATIONS_PER_GMAC = 2.74e6  # elements written, outside vision
# Elements written at 224 x 224 pixels by a net of one GMAC there; they grow with width as the root of the work does.
# Median of the catalog's 1,217 convolutional nets and vision Transformers, about which the root scatters by 0.51
# (natural log), and what is proportional to the work by 0.90.
ACTIVATIONS_OF_ONE_GMAC = 7.4e6
PIXELS_OF_FAMILY = {"detection": 800.0, "segmentation": 512.0}  # usual sides where none is stated


def _convolution_work(table: Table) -> Work:
    typical = table.mapped("family", TYPICAL_GMACS, TYPICAL_GMACS["other"])
    stated = table["forward_gmacs"] > 0
    by_parameters = (
        ~stated
        & (table["parameters"] > 0)
        & (table["sequence_length"] > 0)
        & table.among("family", COUNTED_BY_PARAMETERS)
    )
    pixels = np.where(table["image_size"] > 0, table["image_size"], TYPICAL_IMAGE)
    visual = table.among("family", ("cnn", "vit"))
    typical = np.where(visual, typical * (pixels / TYPICAL_IMAGE) ** 2, typical)
    gmacs = np.where(stated, table["forward_gmacs"], typical)
    usual_parameters = table.mapped("family", TYPICAL_LANGUAGE_PARAMETERS, TYPICAL_PARAMETERS)
    spoken = table.among("family", TRANSFORMER_FAMILIES) & (table["sequence_length"] > 0)
    gmacs = np.where(spoken & ~stated, usual_parameters * table["sequence_length"] / 1e9, gmacs)
    gmacs = np.where(by_parameters, table["parameters"] * table["sequence_length"] / 1e9, gmacs)
    usual = table.mapped("family", PIXELS_OF_FAMILY, TYPICAL_IMAGE)
    area = (np.where(table["image_size"] > 0, table["image_size"], usual) / TYPICAL_IMAGE) ** 2
    pictures = table.among("family", ("cnn", "vit", "detection", "segmentation", "diffusion"))
    typical_elements = np.where(pictures, ACTIVATIONS_OF_ONE_GMAC * np.sqrt(area * gmacs), ACTIVATIONS_PER_GMAC * gmacs)
    activations = np.where(table["activations"] > 0, table["activations"], typical_elements)
    image = np.where(pictures & (table["image_size"] > 0), table["image_size"], TYPICAL_IMAGE)
    parameters = np.where(table["parameters"] > 0, table["parameters"], usual_parameters)
    # Embedding tables of recommenders are looked up, a few rows a sample; only the dense part is read and
    # reduced whole, and it has one weight per multiply-accumulate.
    recommender = table.among("family", ("recommender",))
    parameters = np.where(recommender, np.minimum(parameters, np.maximum(1e9 * gmacs, 1e5)), parameters)
    launches = table.mapped("family", TYPICAL_KERNELS, KERNELS_PER_OTHER)
    launches = np.where(table["layers"] == 1.0, KERNELS_PER_LAYER, launches)
    zeros = np.zeros(len(table))
    return Work(
        gemm_flops=2e9 * gmacs,
        attention_flops=zeros,
        head_flops=zeros,
        expert_flops=zeros,
        elements=np.where(table["layers"] == 1.0, BARE_LAYER_TRAFFIC, 1.0) * activations,
        score_elements=zeros,
        kernels=np.where(table["kernels"] > 0, table["kernels"], launches),
        sample_kernels=zeros,
        sequential_steps=np.ones(len(table)),
        stepwise_share=zeros,
        tokens=np.maximum((image / PIXELS_PER_TOKEN) ** 2, 1.0),
        width=clipped(1e9 * gmacs / np.maximum(activations, 1.0), 4.0, 4096.0),
        parameters=parameters,
        dense_parameters=parameters,
        known=stated | by_parameters,
    )
