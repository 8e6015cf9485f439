"""A table of configurations: NumPy columns in, one row per configuration.

The engine never sees JSON, databases or catalogs. Whatever asks for a prediction (one estimate, a batch, a plan,
an evaluation, a calibration) builds a `Table` and hands it over; a single estimate is a table of one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

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
    "sharding_group",  # replicas that share one copy of the states out; NaN: all, or a node's where that is usual
    "context_parallel",
    "expert_parallel",
    "virtual_pipeline",
    "recompute_share",  # of the layers, where whole ones are recomputed; NaN: all
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


LARGEST_CODE = 2**62
MOST_WORDS = 4096  # columns of one row that are remembered


def _fixed(value: bool | int) -> NDArray[np.generic]:
    """A column of one row that nobody can change, so that all tables of one row may share it."""
    column = np.array([value])
    column.flags.writeable = False
    return column


# Half of what an engine of arrays does with a single row is to make arrays: these are there already.
FIRST = np.asarray(_fixed(0), dtype=np.int64)
YES, NO = np.asarray(_fixed(True), dtype=np.bool_), np.asarray(_fixed(False), dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Names:
    """A text column by its few different values: row i says `vocabulary[codes[i]]`.

    What is asked of a column is asked once of each different value, however many rows there are. A value may be in
    the vocabulary though no row has it.
    """

    vocabulary: tuple[str, ...]
    codes: IntArray  # (n,)

    @classmethod
    def of(cls, values: Sequence[str] | TextArray) -> Names:
        """The column that holds these values, in order of appearance."""
        if len(values) == 1:
            return _word(str(values[0]))
        positions: dict[str, int] = {}
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        codes = np.fromiter((positions.setdefault(value, len(positions)) for value in listed), np.int64, len(listed))
        return cls(tuple(map(str, positions)), codes)

    @cached_property
    def text(self) -> TextArray:
        """The values themselves, shape (n,)."""
        vocabulary = np.empty(len(self.vocabulary), dtype=object)
        vocabulary[:] = self.vocabulary
        values = np.asarray(vocabulary[self.codes], dtype=object)
        values.flags.writeable = False
        return values

    def among(self, names: Collection[str]) -> BoolArray:
        """Which rows say one of `names`, shape (n,); read-only where it is one row."""
        if len(self.codes) == 1:
            return YES if self.vocabulary[self.codes[0]] in names else NO
        told = [value in names for value in self.vocabulary]
        if not any(told) or all(told):
            return np.full(len(self.codes), any(told))
        return np.asarray(np.array(told)[self.codes])

    def mapped(self, values: Mapping[str, float], default: float) -> FloatArray:
        """The number that goes with each row's value, shape (n,); `default` with what `values` lacks."""
        if len(self.codes) == 1:
            return np.array([values.get(self.vocabulary[self.codes[0]], default)])
        return np.asarray(np.array([values.get(value, default) for value in self.vocabulary])[self.codes])

    def renamed(self, names: Mapping[str, str]) -> Names:
        """The column with other words for some values, shape (n,); itself where it has none of them."""
        if names.keys().isdisjoint(self.vocabulary):
            return self
        positions: dict[str, int] = {}
        places = [positions.setdefault(names.get(value, value), len(positions)) for value in self.vocabulary]
        return Names(tuple(positions), np.array(places, dtype=np.int64)[self.codes])

    def take(self, index: IntArray | BoolArray | slice) -> Names:
        """The rows at `index`."""
        return Names(self.vocabulary, self.codes[index])


@lru_cache(MOST_WORDS)
def _word(value: str) -> Names:
    """A column of one row."""
    return Names((value,), FIRST)


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length n: `numbers[name]` float64 (NaN = unknown), `texts[name]` names ("" = unknown)."""

    numbers: dict[str, FloatArray]
    texts: dict[str, Names]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, float | str]]) -> Table:
        """Build a table from dictionaries keyed by the names of `NUMBERS` and `TEXTS`; missing keys are unknown."""
        nan = float("nan")
        values = np.array([[row.get(name, nan) for name in NUMBERS] for row in rows], dtype=np.float64)
        columns = np.ascontiguousarray(values.reshape(-1, len(NUMBERS)).T)
        return cls(
            dict(zip(NUMBERS, columns, strict=True)),
            {name: Names.of([str(row.get(name, "")) for row in rows]) for name in TEXTS},
        )

    def __len__(self) -> int:
        return len(self.numbers["parameters"])

    def __getitem__(self, name: str) -> FloatArray:
        return self.numbers[name]

    def text(self, name: str) -> TextArray:
        """The text column `name`, shape (n,); read-only."""
        return self.texts[name].text

    def among(self, name: str, names: Collection[str]) -> BoolArray:
        """Which rows have one of `names` in the text column `name`, shape (n,)."""
        return self.texts[name].among(names)

    def mapped(self, name: str, values: Mapping[str, float], default: float) -> FloatArray:
        """The number that goes with each row's text in the column `name`, shape (n,)."""
        return self.texts[name].mapped(values, default)

    def take(self, index: IntArray | BoolArray | slice) -> Table:
        """The rows at `index` (integer positions, a mask or a slice), as a new table."""
        return Table(
            {name: column[index] for name, column in self.numbers.items()},
            {name: column.take(index) for name, column in self.texts.items()},
        )

    def replace(self, **columns: FloatArray | TextArray | Names) -> Table:
        """The same table with some columns exchanged."""
        numbers, texts = dict(self.numbers), dict(self.texts)
        for name, column in columns.items():
            if name in texts:
                texts[name] = column if isinstance(column, Names) else Names.of(np.asarray(column, dtype=object))
            elif name in numbers and not isinstance(column, Names):
                numbers[name] = np.asarray(column, dtype=np.float64)
            else:
                raise KeyError(name)
        return Table(numbers, texts)


def concatenate(tables: Iterable[Table]) -> Table:
    """One table with the rows of all `tables`, in order."""
    parts = list(tables)
    return Table(
        {name: np.concatenate([part.numbers[name] for part in parts]) for name in NUMBERS},
        {name: joined([part.texts[name] for part in parts]) for name in TEXTS},
    )


def joined(columns: Sequence[Names]) -> Names:
    """One column with the rows of all `columns`, in order."""
    positions: dict[str, int] = {}
    codes = []
    for column in columns:
        places = [positions.setdefault(value, len(positions)) for value in column.vocabulary]
        codes.append(np.array(places, dtype=np.int64)[column.codes])
    return Names(tuple(positions), np.concatenate(codes))


def filled(column: FloatArray, value: float) -> FloatArray:
    """The column with `value` where nothing is known, shape (n,); the column itself where all is known."""
    if column.shape == (1,):
        return np.array([value]) if math.isnan(column.item()) else column
    missing = np.isnan(column)
    return np.where(missing, value, column) if missing.any() else column


def clipped(column: FloatArray, least: FloatArray | float, most: FloatArray | float) -> FloatArray:
    """The column held between two bounds, shape (n,); several times quicker than `np.clip` of a few numbers."""
    return np.minimum(np.maximum(column, least), most)


def coded(column: FloatArray) -> IntArray:
    """Codes that equal numbers share, shape (n,)."""
    if not len(column) or (column == column[0]).all():
        return np.zeros(len(column), dtype=np.int64)
    return np.asarray(np.unique(column, return_inverse=True)[1], dtype=np.int64)


def combinations(columns: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """Rows that agree in all `columns` of codes, shape (n,) each, share a number.

    Returns: a row of each of the c combinations, shape (c,), and the combination of every row, shape (n,).
    """
    count = len(columns[0])
    combined = np.zeros(count, dtype=np.int64)
    if count == 1:
        return combined, combined
    for codes in columns:
        size = int(codes.max(initial=0)) + 1
        if size > 1 and (int(combined.max(initial=0)) + 1) * size > LARGEST_CODE:
            _, combined = np.unique(combined, return_inverse=True)
        if size > 1:
            combined = combined * size + codes
    if not combined.any():
        return combined[:1], combined
    _, first, combination = np.unique(combined, return_index=True, return_inverse=True)
    return first, combination


Result = TypeVar("Result")


def once_a_table(function: Callable[[Table], Result]) -> Callable[[Table], Result]:
    """Remembers what a pure function says of a table, for as long as the table lives: nobody changes its columns."""
    known: WeakKeyDictionary[Table, Result] = WeakKeyDictionary()

    @wraps(function)
    def remembered(table: Table) -> Result:
        found = known.get(table)
        if found is None:
            found = known[table] = function(table)
        return found

    return remembered
