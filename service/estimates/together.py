"""Estimates that are asked for at the same time, computed as one table: the engine takes hardly longer for many rows.

Nothing waits for company that has not arrived. What is asked for while a table is computed makes the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from service.catalog.catalog import Catalog
from service.estimates.columns import WHOLE, Path
from service.estimates.schemas import EstimateRequest
from service.estimates.service import Answer, compute_many
from service.sites.standpoint import Standpoint

MOST_AT_ONCE = 64
"""Requests of one table: enough to share what a table costs, few enough that none waits long for the others."""
TURNS = 4
"""Of the event loop, that a request which has arrived is given to be read. Chosen by trial: with none, sixteen callers
at once were answered a fifth more slowly, and with twelve no faster."""


@dataclass(frozen=True, eq=False)
class _Asked:
    request: EstimateRequest
    standpoint: Standpoint
    fields: Collection[Path]
    answer: asyncio.Future[Answer]


class Together:
    """Computes the estimates of one replica, one table at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._waiting: list[_Asked] = []
        self._working: asyncio.Task[None] | None = None

    async def estimate(
        self, request: EstimateRequest, standpoint: Standpoint, fields: Collection[Path] = WHOLE
    ) -> Answer:
        """The estimate, with its members at `fields` alone, or the fields that keep the request from being one."""
        asked = _Asked(request, standpoint, fields, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await asked.answer

    async def _joined(self) -> None:
        """Lets requests that have arrived be read, as long as they go on to join."""
        there = 0
        while there < len(self._waiting) < MOST_AT_ONCE:
            there = len(self._waiting)
            for _ in range(TURNS):
                await asyncio.sleep(0)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._joined()
                taken, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                try:
                    answers = await run_in_threadpool(_answered, taken, self.catalog)
                except Exception as error:  # else, whoever asked would wait for ever
                    answers = [error] * len(taken)
                for asked, answer in zip(taken, answers, strict=True):
                    if asked.answer.done():  # whoever asked has gone away
                        continue
                    if isinstance(answer, Exception):
                        asked.answer.set_exception(answer)
                    else:
                        asked.answer.set_result(answer)
        finally:
            self._working = None


def _answered(asked: Sequence[_Asked], catalog: Catalog) -> list[Answer | Exception]:
    """An answer for each; where a table fails, each alone, so that none spoils the others' answers."""
    alike: dict[tuple[int, frozenset[Path]], list[int]] = {}
    for index, one in enumerate(asked):
        alike.setdefault((id(one.standpoint.forecaster), frozenset(one.fields)), []).append(index)
    answers: list[Answer | Exception] = [[] for _ in asked]
    for indices in alike.values():
        first, requests = asked[indices[0]], [asked[index].request for index in indices]
        try:
            found: Sequence[Answer | Exception] = compute_many(requests, catalog, first.standpoint).answers(
                first.fields
            )
        except Exception as error:
            alone = [[asked[index]] for index in indices]
            found = [error] if len(indices) == 1 else [_answered(one, catalog)[0] for one in alone]
        for index, answer in zip(indices, found, strict=True):
            answers[index] = answer
    return answers
