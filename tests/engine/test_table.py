"""Text columns are held by their few different values, and nobody who asks a table can tell."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.engine.table import Table, combinations, concatenate

CHIPS = st.lists(st.sampled_from(["T4", "A100", "H100", ""]), min_size=1, max_size=12)


def table_of(chips: Sequence[str]) -> Table:
    return Table.from_rows([{"accelerator": chip, "count": index} for index, chip in enumerate(chips)])


@given(CHIPS, CHIPS)
def test_texts_come_back_whatever_is_done_to_the_rows(ours: list[str], theirs: list[str]) -> None:
    both = concatenate([table_of(ours), table_of(theirs)])
    kept = np.flatnonzero(both["count"] % 2 == 0)
    assert both.text("accelerator").tolist() == ours + theirs
    assert both.take(kept).text("accelerator").tolist() == [(ours + theirs)[index] for index in kept]
    assert (
        both.replace(accelerator=both.text("accelerator")[::-1]).text("accelerator").tolist() == (ours + theirs)[::-1]
    )
    assert both.among("accelerator", ("T4", "H100")).tolist() == [chip in ("T4", "H100") for chip in ours + theirs]
    speeds = {"T4": 65.0, "H100": 989.0}
    assert both.mapped("accelerator", speeds, 1.0).tolist() == [speeds.get(chip, 1.0) for chip in ours + theirs]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**40), st.integers(0, 2**40)), max_size=12))
def test_rows_share_a_combination_if_they_agree_in_all_columns(rows: list[tuple[int, int, int]]) -> None:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    first, combination = combinations(list(columns))
    assert [rows[first[one]] for one in combination] == rows
    assert len(first) == len(set(rows))
