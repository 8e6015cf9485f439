"""Who calls, what they may do, and how often: keys, scopes, rate limits and cost budgets at the service's door.

The gate runs before anything of a request's body is read. A key is looked up once in a few seconds, so that it costs
no query on most requests and a revoked one is refused soon. Limits are kept in the memory of each replica.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address, IPv6Network
from typing import Annotated, Any

from cachetools import TTLCache
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send

from service.allowances import Allowance
from service.database import Database
from service.failures import problem_of
from service.problems import Forbidden, Problem, Unauthorized, render
from service.settings import Settings
from service.teams.repository import Actor, TeamRepository
from service.teams.service import Scope as KeyScope
from service.teams.service import is_genuine, prefix_of

logger = logging.getLogger(__name__)

KEY_AGE_SECONDS = 4.0
"""How long a looked-up key is believed; with the query it stays within the 5 s that are promised for a revocation."""
KEYS_HELD = 10_000
TOUCHED_AFTER = timedelta(minutes=1)
"""How exactly a key's last use is known: once a minute is one write a minute."""
ALWAYS_OPEN = frozenset({"/healthz", "/readyz", "/openapi.json"})
ALWAYS_OPEN_BELOW = ("/docs", "/assets/")
"""What a closed service, too, answers without a key: whether it lives, how to talk to it, and pages that ask for a key.
Nothing of its data; metrics tell of its traffic, so that they need a key there."""
_BEARER = 'Bearer realm="traincast"'
CHALLENGE = {"www-authenticate": _BEARER}
BEARER = HTTPBearer(scheme_name="key", auto_error=False, description="An API key, from `traincast keys create`.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a team by one of its keys, or an anonymous address (all None, no scopes)."""

    team_id: str | None = None
    team_name: str | None = None
    scopes: frozenset[str] = frozenset()
    key_id: str | None = None
    address: str = ""

    @property
    def actor(self) -> Actor:
        """The caller as the audit names it."""
        return Actor(self.team_id, self.key_id)

    @property
    def account(self) -> str:
        """Whose limits and budgets its requests count against."""
        return self.key_id or f"address {network_of(self.address)}"


def network_of(address: str) -> str:
    """What a caller has to itself: its IPv4 address, or the /64 of its IPv6 address, the least that a site is given
    (RFC 6177), from any address of which it may call."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), 64), strict=False))


@dataclass(frozen=True, slots=True)
class _Known:
    """A key as it was looked up; None where there is none of that prefix."""

    caller: Caller | None
    hash: bytes
    revoked: bool


class Gate:
    """Lets requests in: recognises the key, keeps a closed service closed, counts against the rate limit."""

    def __init__(
        self, app: ASGIApp, settings: Settings, database: Callable[[], Database], pages: frozenset[str]
    ) -> None:
        """
        Args:
            app: what is behind the gate.
            settings: limits, and whether reading is open.
            database: gives the database that keys are looked up in, once the service has started.
            pages: paths that are open to everybody, for they hold no data.
        """
        self.app = app
        self.open = ALWAYS_OPEN | pages
        self.open_reading = settings.open_reading
        self.keys = KeyRing(database)
        self.per_key = Allowance(settings.key_requests_per_minute, "minute", 60.0)
        self.per_address = Allowance(settings.anonymous_requests_per_minute, "minute", 60.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            scope.setdefault("state", {})["caller"] = await self._admitted(scope)
        except Problem as problem:
            await render(Request(scope), problem)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _admitted(self, scope: Scope) -> Caller:
        address = scope["client"][0] if scope.get("client") else ""
        path = scope["path"]
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), None)
        is_open = path in self.open or path.startswith(ALWAYS_OPEN_BELOW)
        if given is None:
            if not (is_open or self.open_reading):
                self._count_refusal(address)
                raise Unauthorized(
                    "This service answers to API keys only: send one as Authorization: Bearer KEY.", headers=CHALLENGE
                )
            caller = Caller(address=address)
        else:
            caller = await self._recognised(given, address)
        if not is_open:
            limit = self.per_address if caller.key_id is None else self.per_key
            limit.spend(caller.account, 1, "requests")
        return caller

    async def _recognised(self, authorization: str, address: str) -> Caller:
        kind, _, key = authorization.partition(" ")
        caller = await self.keys.caller(key.strip(), address) if kind.lower() == "bearer" else None
        if caller is None:
            self._count_refusal(address)
            raise Unauthorized(
                "The API key is not valid: it is mistyped, revoked or of another service. Send Authorization: Bearer "
                "KEY with a key from `traincast keys create`, or no such header.",
                headers=CHALLENGE,
            )
        return caller

    def _count_refusal(self, address: str) -> None:
        """Guessing and knocking count against the address, so that they end soon and cost few queries."""
        self.per_address.spend(Caller(address=address).account, 1, "requests")


class KeyRing:
    """Keys looked up in the database and believed for a few seconds."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self.database = database
        self.held: TTLCache[str, _Known] = TTLCache(KEYS_HELD, KEY_AGE_SECONDS, timer=time.monotonic)
        self.touching: set[asyncio.Task[None]] = set()

    async def caller(self, key: str, address: str) -> Caller | None:
        """Whose key this is, or None if it opens nothing.

        Raises:
            NotReady: The database does not answer, and the key was not looked up lately.
        """
        prefix = prefix_of(key)
        if prefix is None:
            return None
        known = self.held.get(prefix)
        if known is None:
            known = await self._looked_up(prefix)
            self.held[prefix] = known
        if not is_genuine(key, known.hash) or known.caller is None or known.revoked:
            return None
        found = known.caller
        return Caller(found.team_id, found.team_name, found.scopes, found.key_id, address)

    async def _looked_up(self, prefix: str) -> _Known:
        try:
            async with self.database().sessions() as session:
                held = await TeamRepository(session).key_of_prefix(prefix)
        except (SQLAlchemyError, OSError) as error:
            # The gate stands outside the handlers that tell failures of the database from bugs.
            raise problem_of(error) or error from error
        if held is None:
            return _Known(None, b"", True)
        row = held.row
        now = datetime.now(UTC)
        if row.revoked_at is None and (row.last_used_at is None or now - row.last_used_at > TOUCHED_AFTER):
            self._in_background(self._touch(row.id, now))
        caller = Caller(row.team_id, held.team_name, frozenset(row.scopes.split()), row.id)
        return _Known(caller, row.hash, row.revoked_at is not None)

    async def _touch(self, key_id: str, at: datetime) -> None:
        """Best effort: a request must not wait, let alone fail, because its key's last use cannot be written."""
        try:
            async with self.database().sessions() as session:
                await TeamRepository(session).touch(key_id, at)
                await session.commit()
        except Exception as error:
            logger.warning("the last use of key %s could not be noted: %s", key_id, error)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.touching.add(task)
        task.add_done_callback(self.touching.discard)


COST_OF_LINE = 1
COST_OF_SAVING = 20
COST_OF_LEARNING = 50
COST_OF_LEVERS = 150
COST_OF_OFFERS = 10
COST_OF_PLACE = 30
"""What a line of a batch, a saved estimate, a row to learn from, the levers of a run, its offers, and a number of chips
that a plan tries cost of a budget. Judgement: a unit is about a millisecond of one core; learning takes time with the
square of its rows, fifty milliseconds each for a few hundred; levers are some sixty estimates, many at once."""


class Budgets:
    """What expensive calls may cost an hour, in units of about a millisecond of one core."""

    def __init__(self, settings: Settings) -> None:
        self.per_key = Allowance(settings.key_budget_per_hour, "hour", 3600.0)
        self.per_address = Allowance(settings.anonymous_budget_per_hour, "hour", 3600.0)

    def spend(self, caller: Caller, cost: int, what: str) -> None:
        """Counts the cost of a call before it is incurred.

        Raises:
            Unprocessable: No hour's budget of the caller covers it.
            TooManyRequests: What is left of this hour's does not.
        """
        limit = self.per_address if caller.key_id is None else self.per_key
        limit.spend(caller.account, cost, what)


async def caller(request: Request) -> Caller:
    """Who calls, as the gate recognised it."""
    found: Caller = request.state.caller
    return found


CallerDependency = Annotated[Caller, Depends(caller)]


def require(scope: KeyScope) -> Callable[..., Awaitable[Caller]]:
    """A dependency that lets only keys with this scope pass, and gives the caller.

    Raises:
        Unauthorized: No key was sent.
        Forbidden: The key has not this scope.
    """

    async def allowed(found: CallerDependency, _documented: Annotated[object, Security(BEARER)]) -> Caller:
        insist(found, scope)
        return found

    return allowed


def insist(caller: Caller, scope: KeyScope) -> None:
    """Lets only a caller whose key has this scope pass.

    Raises:
        Unauthorized: No key was sent.
        Forbidden: The key has not this scope.
    """
    if caller.key_id is None:
        raise Unauthorized(
            f"This call needs an API key with the scope {scope}: send Authorization: Bearer KEY "
            f"(`traincast keys create --team NAME --scope {scope}`).",
            headers=CHALLENGE,
        )
    if scope not in caller.scopes:
        raise Forbidden(
            f"The API key lacks the scope {scope}: it has {', '.join(sorted(caller.scopes))}.",
            headers={"www-authenticate": f'{_BEARER}, error="insufficient_scope", scope="{scope}"'},
        )


async def get_budgets(request: Request) -> Budgets:
    """The budgets of this replica."""
    budgets: Budgets = request.app.state.budgets
    return budgets


BudgetsDependency = Annotated[Budgets, Depends(get_budgets)]
