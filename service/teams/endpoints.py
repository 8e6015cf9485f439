"""The audit over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from service.cursors import BadCursorError
from service.dependencies import Session
from service.problems import FieldError, Forbidden, Unauthorized, Unprocessable, responses
from service.security import Caller, require
from service.teams.repository import AuditRepository
from service.teams.schemas import AuditEntry, AuditPage

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("", summary="Who did what", responses=responses(Unauthorized, Forbidden, Unprocessable))
async def list_audit(
    session: Session,
    caller: Annotated[Caller, Depends(require("submit"))],
    subject: Annotated[
        str | None,
        Query(description="Of one measurement, key or calibration only.", examples=["m_007647380ee8966cd6e72996"]),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="The most to return.")] = 100,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before.", examples=["SDEwMC1TWE01LTgwR0I"])
    ] = None,
) -> AuditPage:
    """What was submitted, changed, withdrawn and decided, newest first: by the key's team, or by all for `admin`."""
    team_id = None if "admin" in caller.scopes else caller.team_id
    try:
        rows, following = await AuditRepository(session).page(
            team_id=team_id, subject=subject, limit=limit, cursor=cursor
        )
    except BadCursorError as error:
        fault = FieldError(field="cursor", message=str(error), hint="Start without one.")
        raise Unprocessable(str(error), [fault]) from None
    return AuditPage(
        items=[AuditEntry.model_validate(row, from_attributes=True) for row in rows], next_cursor=following
    )
