"""What can be trained: models of published shapes, and which of them a chip's memory holds."""

from dataclasses import dataclass

BYTES_PER_PARAMETER = 16.0
"""fp32 weights and gradients and AdamW's two moments, or half-precision copies beside them: Rajbhandari et al. 2020
(ZeRO, arXiv 1910.02054), section 3.1."""
SHARE_FOR_STATES = 0.6
"""Of a chip's memory, what weights and optimizer may take; the rest is for activations and logits. Judgement."""
VOCABULARY = 50304
"""GPT-2's 50,257 entries filled up to a multiple of 64, as is usual for the sake of matrix kernels."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A model and the samples it is fed."""

    name: str
    family: str
    batch: int
    """Samples of a step where no larger batch is looked for: on a processor, whose memory does not limit it and whose
    steps would take long."""
    optimizer: str
    layers: int = 0
    hidden_size: int = 0
    attention_heads: int = 0
    vocabulary: int = 0
    sequence_length: int = 0
    image_size: int = 0
    catalog_name: str = ""
    """Where the model is the catalog's, its name there."""
    largest_batch: int = 64
    """Batches are not tried beyond this. Judgement: steady throughput is reached before."""

    @property
    def is_transformer(self) -> bool:
        """Whether it attends."""
        return self.attention_heads > 0

    @property
    def parameters(self) -> float:
        """Weights of a Transformer, roughly: 12 h^2 a layer and the embedding (Kaplan et al. 2020, arXiv 2001.08361,
        table 1). Chooses a size; the measurement carries the exact count."""
        return 12.0 * self.layers * self.hidden_size**2 + self.vocabulary * self.hidden_size

    def fields(self) -> dict[str, object]:
        """The workload as fields of the vocabulary."""
        if self.catalog_name:
            model: dict[str, object] = {"model.name": self.catalog_name}
        else:
            model = {
                "model.family": self.family, "model.layers": self.layers, "model.hidden_size": self.hidden_size,
                "model.attention_heads": self.attention_heads, "model.kv_heads": self.attention_heads,
                "model.intermediate_size": 4 * self.hidden_size, "model.gated_mlp": False,
                "model.vocab_size": self.vocabulary, "model.tied_embeddings": True,
            }  # fmt: skip
        size = {"data.sequence_length": self.sequence_length} if self.sequence_length else {}
        image = {"data.image_size": self.image_size} if self.image_size else {}
        return {**model, **size, **image, "data.input": "synthetic", "training.optimizer": self.optimizer}


def _decoder(name: str, layers: int, hidden: int, heads: int, length: int = 2048, batch: int = 1) -> Workload:
    return Workload(name, "decoder", batch, "adamw", layers, hidden, heads, VOCABULARY, length)


def _encoder(name: str, layers: int, hidden: int, heads: int, length: int = 512, batch: int = 4) -> Workload:
    return Workload(name, "encoder", batch, "adamw", layers, hidden, heads, 30522, length)


DECODERS = (
    _decoder("decoder-16m", 4, 256, 4, length=256),
    # Brown et al. 2020 (arXiv 2005.14165), table 2.1.
    _decoder("decoder-125m", 12, 768, 12),
    _decoder("decoder-350m", 24, 1024, 16),
    _decoder("decoder-1.3b", 24, 2048, 16),
    _decoder("decoder-2.7b", 32, 2560, 32),
    _decoder("decoder-6.7b", 32, 4096, 32),
)
ENCODERS = (
    # Turc et al. 2019 (arXiv 1908.08962), table 1: mini.
    _encoder("encoder-11m", 4, 256, 4, length=128),
    # Devlin et al. 2019 (arXiv 1810.04805), section 3.
    _encoder("encoder-110m", 12, 768, 12),
    _encoder("encoder-340m", 24, 1024, 16),
)
RESNET_50 = Workload(
    "resnet-50", "cnn", 2, "sgd", image_size=224, catalog_name="resnet-50", largest_batch=256
)  # He et al. 2016 (arXiv 1512.03385), table 1, with the stride in the 3 x 3 convolution.
LSTM = Workload(
    "lstm", "rnn", 4, "sgd", layers=2, hidden_size=1500, vocabulary=10_000, sequence_length=35,
    catalog_name="lstm-ptb-large", largest_batch=256,
)  # fmt: skip  # Zaremba et al. 2014 (arXiv 1409.2329), section 4.1.
ALL = {workload.name: workload for workload in (*DECODERS, *ENCODERS, RESNET_50, LSTM)}
NAMES = ("decoder", "encoder", *ALL)
"""What can be asked for; `decoder` and `encoder` are the largest that fit."""


def chosen(name: str, memory_gb: float | None) -> Workload:
    """The workload of that name; of `decoder` and `encoder` the largest that a chip of that memory trains.

    Args:
        name: One of `NAMES`.
        memory_gb: Memory of the chip in 10^9 bytes; None for a processor, which gets the smallest.

    Raises:
        ValueError: There is none of that name.
    """
    if name in ALL:
        return ALL[name]
    sizes = {"decoder": DECODERS, "encoder": ENCODERS}.get(name)
    if sizes is None:
        raise ValueError(f"there is no workload {name!r}: take {', '.join(NAMES)}")
    room = (memory_gb or 0.0) * 1e9 * SHARE_FOR_STATES
    return [sizes[0], *(size for size in sizes[1:] if size.parameters * BYTES_PER_PARAMETER <= room)][-1]
