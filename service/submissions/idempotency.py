"""`Idempotency-Key`: a retry is answered as the first request was, and the same key with another request is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from service.database import Database
from service.problems import BadRequest, Conflict, FieldError
from service.submissions.repository import FirstAnswerRepository

LONGEST_KEY = 200
KEPT = timedelta(days=7)
"""How long first answers are kept: beyond any retry. Rows themselves are recognised for ever, by what they say."""


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What the first request with a key was answered."""

    status: int
    location: str | None
    body: Mapping[str, Any]


class AnsweredMeanwhileError(Exception):
    """Another request with the same key was answered while this one was worked on."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """One request's key and fingerprint, for one team; `key` is None where the caller sent none."""

    team_id: str
    key: str | None
    fingerprint: str

    async def first(self, database: Database) -> FirstAnswer | None:
        """What the first request with this key was answered, or None if this is the first.

        Raises:
            Conflict: The key was used for another request.
        """
        if self.key is None:
            return None
        async with database.sessions() as session:
            held = await FirstAnswerRepository(session).get(self.team_id, self.key)
        if held is None:
            return None
        if held.fingerprint != self.fingerprint:
            message = "was used for another request before"
            raise Conflict(
                f"The Idempotency-Key {self.key!r} {message}.",
                [FieldError(field="header.idempotency-key", message=message, hint="make a new key for each request")],
            )
        return FirstAnswer(held.status, held.location, held.answer)

    async def remember(
        self, session: AsyncSession, status: int, body: Mapping[str, Any], *, location: str | None = None
    ) -> None:
        """Remembers the answer in the transaction of what it tells of.

        Raises:
            AnsweredMeanwhileError: Roll back, and answer what `first` gives.
        """
        if self.key is None:
            return
        repository = FirstAnswerRepository(session)
        added = await repository.add(
            {
                "team_id": self.team_id,
                "idempotency_key": self.key,
                "fingerprint": self.fingerprint,
                "status": status,
                "location": location,
                "answer": dict(body),
            }
        )
        if not added:
            raise AnsweredMeanwhileError
        await repository.forget(KEPT)


def idempotency(request: Request, team_id: str, body_digest: bytes) -> Idempotency:
    """The request's key and fingerprint.

    Raises:
        BadRequest: The key is too long or not printable.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        message = f"is 1 to {LONGEST_KEY} printable ASCII characters"
        raise BadRequest(
            f"An Idempotency-Key {message}.", [FieldError(field="header.idempotency-key", message=message)]
        )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    said = f"{request.method}\0{request.url.path}\0{request.url.query}\0{kind}\0".encode() + body_digest
    return Idempotency(team_id, key, hashlib.sha256(said).hexdigest())
