"""Cursor paging over the reference tables, which do not change while the service runs."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


class BadCursorError(ValueError):
    """A cursor that this list did not give out."""


def page_of(
    items: Iterable[Item], name: Callable[[Item], str], *, limit: int, cursor: str | None
) -> tuple[Sequence[Item], str | None]:
    """The next `limit` items after the one that `cursor` names, and the cursor of those after them.

    Raises `BadCursorError` if the cursor names no item.
    """
    rest = iter(items)
    if cursor is not None:
        last = _decode(cursor)
        if not any(name(item) == last for item in rest):
            raise BadCursorError(f"{cursor!r} is not a cursor that this list gave out")
    chosen = list(islice(rest, limit + 1))
    more = len(chosen) > limit
    return chosen[:limit], _encode(name(chosen[limit - 1])) if more else None


def _encode(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise BadCursorError(f"{cursor!r} is not a cursor that this list gave out") from error
