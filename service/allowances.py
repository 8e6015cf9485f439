"""How much an account may ask for in a while: counts in the memory of each replica."""

import math
import time

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from service.problems import TooManyRequests, Unprocessable


class Allowance:
    """So much for each account in each window of time."""

    def __init__(self, limit: RateLimitItem) -> None:
        self.limit = limit
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def spend(self, account: str, cost: int, what: str) -> None:
        """Counts a call before it is answered.

        Args:
            account: whose.
            cost: of the call.
            what: there are too many of, in words.

        Raises:
            Unprocessable: no window covers it, so that waiting does not help.
            TooManyRequests: what is left of the account's window does not cover it.
        """
        each = self.limit.GRANULARITY.name
        if cost > self.limit.amount:
            raise Unprocessable(
                f"Too many {what} for one call: it costs {cost}, and {self.limit.amount} are allowed each {each}; ask "
                "in smaller parts, or with a key that is allowed more."
            )
        # A refused call costs nothing, so that a large one does not use up what a small one could have had: one of 1
        # is refused only where no other fits either.
        fits = cost == 1 or self._limiter.test(self.limit, account, cost=cost)
        if fits and self._limiter.hit(self.limit, account, cost=cost):
            return
        reset = self._limiter.get_window_stats(self.limit, account).reset_time
        wait = max(1, math.ceil(reset - time.time()))
        raise TooManyRequests(
            f"Too many {what}: {self.limit.amount} are allowed each {each}; try again in {wait} s.",
            headers={"retry-after": str(wait)},
        )
