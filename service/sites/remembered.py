"""What was reckoned a moment ago, kept for who asks again: the same step with other data, prices or places.

A forecast is a function of the configuration and the calibration alone, so what is kept is never out of date: a new
calibration, and a site that has learned, are standpoints of their own that have kept nothing yet.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Generic, TypeVar

from cachetools import LRUCache

Answer = TypeVar("Answer")


class Remembered(Generic[Answer]):
    """The latest answers; threads may share it.

    Args:
        most: answers that are kept; the one unused longest makes room.
    """

    def __init__(self, most: int) -> None:
        self._answers: LRUCache[Hashable, Answer] = LRUCache(most)
        self._lock = Lock()

    def get(self, key: Hashable) -> Answer | None:
        """The answer to what was asked, if it is kept."""
        with self._lock:
            return self._answers.get(key)

    def keep(self, key: Hashable, answer: Answer) -> None:
        """Keeps an answer."""
        with self._lock:
            self._answers[key] = answer

    def of(self, keys: Sequence[Hashable], found: Callable[[list[int]], Sequence[Answer]]) -> list[Answer]:
        """The answers to many questions.

        Args:
            keys: what the answer to each depends on.
            found: gives the answers to the questions at some positions, in their order; of those alike it is asked one.
        """
        answers: dict[Hashable, Answer] = {}
        missing: dict[Hashable, int] = {}
        for position, key in enumerate(keys):
            answer = self.get(key)
            if answer is None:
                missing.setdefault(key, position)
            else:
                answers[key] = answer
        for key, answer in zip(missing, found(list(missing.values())) if missing else (), strict=True):
            answers[key] = answer
            self.keep(key, answer)
        return [answers[key] for key in keys]
