"""Memory that was freed goes back to the system.

What a start that seeds, a learned site or a large batch took, the C library keeps for itself where a little above it is
still in use: a worker would for ever be as large as it ever was.
"""

import asyncio
import ctypes
from collections.abc import Callable

EVERY_SECONDS = 60.0


def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # a C library that has none (musl, macOS, Windows)
        return None
    return found


_malloc_trim = _trim()


def give_back() -> None:
    """Gives freed memory back, where the C library can be told to (glibc, `malloc_trim(3)`)."""
    if _malloc_trim is not None:
        _malloc_trim(0)


async def keep_giving_back() -> None:
    """Does so now and then, for as long as the service runs."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        await asyncio.to_thread(give_back)
