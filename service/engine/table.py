"""A table of configurations: NumPy columns in, one row per configuration.

The engine never sees JSON, databases or catalogs. Whatever asks for a prediction (one estimate, a batch, a plan,
an evaluation, a calibration) builds a `Table` and hands it over; a single estimate is a table of one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
TextArray = NDArray[np.object_]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NUMBERS: tuple[str, ...] = (
    # model shape (counts; NaN where the model's family has no such thing or nobody knows)
    "parameters",
    "active_parameters",
    "trainable_parameters",
    "layers",
    "encoder_layers",
    "decoder_layers",
    "hidden_size",
    "attention_heads",
    "kv_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "gated_mlp",
    "tied_embeddings",
    "experts",
    "experts_per_token",
    "shared_experts",
    "dense_layers",
    "sliding_window",
    "windowed_layers",  # that the window limits, where not all
    "attention_layers",  # where others have none
    "forward_gmacs",  # 10^9 multiply-accumulates per sample, forward
    "activations",  # elements written per sample, forward
    "kernels",  # launches of one forward pass, whatever the batch
    # data
    "sequence_length",  # tokens per sample
    "maximum_length",  # tokens at which longer samples are cut or left out
    "image_size",  # pixels, one side
    # hardware
    "peak_tflops",  # dense, at the training precision
    "matmul_share",  # best measured matrix product over the peak, of the chip or its microarchitecture
    "memory_gb",  # 10^9 bytes per accelerator
    "memory_bandwidth_gbs",
    "tdp_w",
    "chip_year",
    "count",
    "per_node",
    "domain",  # accelerators joined by the fast link: a node, a rack or a pod
    "intra_gbs",  # per accelerator, one direction, within a node
    "inter_gbs",  # per accelerator, one direction, between nodes
    # training
    "global_batch",
    "micro_batch",
    "gradient_accumulation",
    "tensor_parallel",
    "pipeline_parallel",
    "data_parallel",
    "context_parallel",
    "expert_parallel",
    "virtual_pipeline",
    # software and time of measurement
    "compile",
    "year",  # decimal year of the measurement; NaN: unknown
)

TEXTS: tuple[str, ...] = (
    "family",
    "model",  # canonical catalog name, or the given name folded to lower case
    "accelerator",
    "chip_group",  # microarchitecture, e.g. "hopper"
    "chip_vendor",
    "precision",
    "weight_precision",  # of the stored weights, where stated
    "mode",
    "adapter",
    "optimizer",
    "sharding",
    "variable_update",
    "recompute",
    "offload",
    "attention",
    "framework",
    "kernel_library",
    "memory_format",
    "cuda_graphs",
    "data_input",
    "packing",
    "evidence",
    "interconnect",
    "site",
    "lineage",
)


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length n: `numbers[name]` float64 (NaN = unknown), `texts[name]` str ("" = unknown)."""

    numbers: dict[str, FloatArray]
    texts: dict[str, TextArray]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, float | str]]) -> Table:
        """Build a table from dictionaries keyed by the names of `NUMBERS` and `TEXTS`; missing keys are unknown."""
        count = len(rows)
        numbers = {name: np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in NUMBERS}
        texts: dict[str, TextArray] = {}
        for name in TEXTS:
            column = np.empty(count, dtype=object)
            column[:] = [row.get(name, "") for row in rows]
            texts[name] = column
        return cls(numbers, texts)

    def __len__(self) -> int:
        return len(self.numbers["parameters"])

    def __getitem__(self, name: str) -> FloatArray:
        return self.numbers[name]

    def text(self, name: str) -> TextArray:
        """The text column `name`, shape (n,)."""
        return self.texts[name]

    def take(self, index: IntArray | BoolArray | slice) -> Table:
        """The rows at `index` (integer positions, a mask or a slice), as a new table."""
        return Table(
            {name: column[index] for name, column in self.numbers.items()},
            {name: column[index] for name, column in self.texts.items()},
        )

    def replace(self, **columns: FloatArray | TextArray) -> Table:
        """The same table with some columns exchanged."""
        numbers, texts = dict(self.numbers), dict(self.texts)
        for name, column in columns.items():
            if name in numbers:
                numbers[name] = np.asarray(column, dtype=np.float64)
            elif name in texts:
                texts[name] = np.asarray(column, dtype=object)
            else:
                raise KeyError(name)
        return Table(numbers, texts)


def concatenate(tables: Iterable[Table]) -> Table:
    """One table with the rows of all `tables`, in order."""
    parts = list(tables)
    return Table(
        {name: np.concatenate([part.numbers[name] for part in parts]) for name in NUMBERS},
        {name: np.concatenate([part.texts[name] for part in parts]) for name in TEXTS},
    )
