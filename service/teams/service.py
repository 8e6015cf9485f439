"""API keys: made, shown once, recognised, revoked."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from sqlalchemy.ext.asyncio import AsyncSession

from service.teams.repository import Actor, AuditRepository, HeldKey, TeamRepository
from service.teams.tables import KeyRow

Scope = Literal["submit", "curate", "calibrate", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)
"""submit: add and withdraw the team's measurements; curate: accept and reject; calibrate: fit and activate;
admin: restore, purge, read the whole audit."""

MARK = "tc"
PREFIX_BYTES = 6
SECRET_BYTES = 32
"""256 random bits: nothing to guess, so that a fast hash is enough (NIST SP 800-63B, section 5.1.1.2, salts and slows
down what people choose)."""
LOCAL_TEAM = "local"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; its text is nowhere else."""

    id: str
    key: str
    team: str
    scopes: tuple[str, ...]


def prefix_of(key: str) -> str | None:
    """The public part of a key's text, or None if it is none of ours."""
    parts = key.split("_", 2)
    return "_".join(parts[:2]) if len(parts) == 3 and parts[0] == MARK and key.isascii() else None


def is_genuine(key: str, held_hash: bytes) -> bool:
    """Whether this text is the key of that hash, compared in constant time."""
    return hmac.compare_digest(_hash(key), held_hash)


async def create_key(session: AsyncSession, team: str, scopes: Iterable[str], actor: Actor) -> NewKey:
    """Makes a key for the team of that name, and the team if there is none.

    Raises:
        ValueError: No scope is given, or one that does not exist; the name is empty or too long.
    """
    wanted = tuple(scope for scope in SCOPES if scope in set(scopes))
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise ValueError(f"there is no scope {unknown[0]!r}: {', '.join(SCOPES)}")
    if not wanted:
        raise ValueError(f"a key needs a scope: {', '.join(SCOPES)}")
    name = team.strip()
    if not 0 < len(name) <= 200 or not name.isprintable():
        raise ValueError("a team's name has 1 to 200 printable characters")
    owner = await TeamRepository(session).obtain(name)
    prefix = f"{MARK}_{secrets.token_hex(PREFIX_BYTES)}"
    text = f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    row = KeyRow(
        id=f"k_{prefix.removeprefix(f'{MARK}_')}",
        team_id=owner.id,
        prefix=prefix,
        hash=_hash(text),
        scopes=" ".join(wanted),
        created_at=datetime.now(UTC),
    )
    session.add(row)
    await session.flush()
    await AuditRepository(session).add(actor, "key.create", [row.id], {"team": owner.id, "scopes": list(wanted)})
    return NewKey(row.id, text, name, wanted)


async def revoke_key(session: AsyncSession, key_id: str, actor: Actor) -> KeyRow:
    """Revokes a key; every replica refuses it within seconds.

    Raises:
        LookupError: There is no such key.
    """
    row = await TeamRepository(session).key(key_id)
    if row is None:
        raise LookupError(f"there is no key {key_id!r}")
    if row.revoked_at is None:
        row.revoked_at = datetime.now(UTC)
        await AuditRepository(session).add(actor, "key.revoke", [row.id])
    return row


async def first_key(session: AsyncSession) -> NewKey | None:
    """A key with every scope for a database that has none yet, so that a first start can be worked with."""
    if await TeamRepository(session).keys():
        return None
    return await create_key(session, LOCAL_TEAM, SCOPES, Actor())


def described(held: HeldKey) -> dict[str, object]:
    """A key as it may be shown: everything but its secret."""
    row = held.row
    return {
        "id": row.id,
        "team": held.team_name,
        "prefix": row.prefix,
        "scopes": row.scopes.split(),
        "created_at": row.created_at.isoformat(),
        "last_used_at": row.last_used_at.isoformat() if row.last_used_at else None,
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
    }


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
