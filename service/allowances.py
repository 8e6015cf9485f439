"""How much an account may ask for in a while: counts in the memory of each replica."""

import math
import time
from dataclasses import dataclass

from cachetools import TTLCache

from service.problems import TooManyRequests

ACCOUNTS_HELD = 100_000
"""Accounts counted at once, some 30 MB; of more, the one that was quiet longest is forgotten."""
NAMES = {60: "minute", 3600: "hour"}


@dataclass(slots=True)
class _Used:
    amount: int
    until: float


class Allowance:
    """So much for each account in a window of time that begins with its first call."""

    def __init__(self, amount: int, seconds: int) -> None:
        """
        Args:
            amount: what a window covers.
            seconds: its length: a minute or an hour.
        """
        self.amount = amount
        self.seconds = seconds
        self._held: TTLCache[str, _Used] = TTLCache(ACCOUNTS_HELD, seconds, timer=time.monotonic)

    def spend(self, account: str, cost: int, what: str) -> None:
        """Counts a call before it is answered; a refused one costs nothing, so that a small one may still fit.

        Args:
            account: whose.
            cost: of the call.
            what: there are too many of, in words.

        Raises:
            TooManyRequests: what is left of the account's window does not cover it.
        """
        used = self._held.get(account)
        if used is None:
            used = self._held[account] = _Used(0, time.monotonic() + self.seconds)
        if used.amount + cost > self.amount:
            wait = max(1, math.ceil(used.until - time.monotonic()))
            raise TooManyRequests(
                f"Too many {what}: {self.amount} are allowed each {NAMES[self.seconds]}; try again in {wait} s.",
                headers={"retry-after": str(wait)},
            )
        used.amount += cost
