"""How much an account may ask for in a while: counts in the memory of each replica."""

import math
import time
from dataclasses import dataclass

from cachetools import TTLCache

from service.problems import TooManyRequests, Unprocessable

MOST_ACCOUNTS = 100_000
"""Accounts whose windows are held, some 30 MB: the one that has not asked for longest makes room, for addresses are
more than memory."""


@dataclass(slots=True)
class _Window:
    ends: float  # by the monotonic clock, seconds
    left: int


class Allowance:
    """So much for each account in each window of time, which begins with the account's first call; for one thread.

    Args:
        amount: what calls of one window may cost together.
        each: what the window is called.
        seconds: how long it is.
    """

    def __init__(self, amount: int, each: str, seconds: float) -> None:
        self.amount = amount
        self.each = each
        self.seconds = seconds
        self._windows: TTLCache[str, _Window] = TTLCache(MOST_ACCOUNTS, seconds)

    def spend(self, account: str, cost: int, what: str) -> None:
        """Counts a call before it is answered.

        Args:
            account: whose.
            cost: of the call.
            what: there are too many of, in words.

        Raises:
            Unprocessable: no window covers it, so that waiting does not help.
            TooManyRequests: what is left of the account's window does not cover it. A refused call costs nothing, so
                that a large one does not use up what a small one could have had.
        """
        if cost > self.amount:
            raise Unprocessable(
                f"Too many {what} for one call: it costs {cost}, and {self.amount} are allowed each {self.each}; ask "
                "in smaller parts, or with a key that is allowed more."
            )
        window = self._windows.get(account)
        if window is None:
            window = self._windows[account] = _Window(time.monotonic() + self.seconds, self.amount)
        if cost <= window.left:
            window.left -= cost
            return
        wait = max(1, math.ceil(window.ends - time.monotonic()))
        raise TooManyRequests(
            f"Too many {what}: {self.amount} are allowed each {self.each}; try again in {wait} s.",
            headers={"retry-after": str(wait)},
        )
