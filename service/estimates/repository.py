"""Queries on saved estimates."""

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from service.estimates.tables import EstimateRow


class EstimateRepository:
    """Saved estimates in one session; the session's owner commits."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def get(self, estimate_id: str, *, team_id: str | None) -> EstimateRow | None:
        """The estimate of that id, or None if there is none that this team (None: an anonymous caller) may see."""
        row = await self.session.get(EstimateRow, estimate_id)
        return row if row is not None and row.team in (None, team_id) else None

    async def add(
        self, request: dict[str, Any], answer: dict[str, Any], *, calibration: str, team_id: str | None
    ) -> EstimateRow:
        """Stores what was asked and answered, word for word, under a new id; a team's own is seen by it alone."""
        row = EstimateRow(
            id=f"e_{uuid.uuid4().hex}",
            created_at=datetime.now(UTC),
            team=team_id,
            calibration=calibration,
            request=request,
            answer=answer,
        )
        self.session.add(row)
        await self.session.flush()
        return row
