"""Cursors of paged lists: opaque to callers, a position to the list that gave them out."""

import base64


class BadCursorError(ValueError):
    """A cursor that this list did not give out."""

    def __init__(self, cursor: str) -> None:
        super().__init__(f"{cursor!r} is not a cursor that this list gave out")


def encode_cursor(position: str) -> str:
    """The cursor of a position."""
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The position of a cursor. Raises `BadCursorError` for text that is none."""
    try:
        position = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError as error:
        raise BadCursorError(cursor) from error
    if "\0" in position:  # which PostgreSQL could not even look for
        raise BadCursorError(cursor)
    return position
