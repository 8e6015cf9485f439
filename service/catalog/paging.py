"""Cursor paging over the reference tables, which do not change while the service runs."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from service.cursors import BadCursorError, decode_cursor, encode_cursor

Item = TypeVar("Item")


def page_of(
    items: Iterable[Item], name: Callable[[Item], str], *, limit: int, cursor: str | None
) -> tuple[Sequence[Item], str | None]:
    """The next `limit` items after the one that `cursor` names, and the cursor of those after them.

    Raises `BadCursorError` if the cursor names no item.
    """
    rest = iter(items)
    if cursor is not None:
        last = decode_cursor(cursor)
        if not any(name(item) == last for item in rest):
            raise BadCursorError(cursor)
    chosen = list(islice(rest, limit + 1))
    more = len(chosen) > limit
    return chosen[:limit], encode_cursor(name(chosen[limit - 1])) if more else None
