"""Queries on calibrations."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.calibrations.tables import CalibrationRow


class CalibrationRepository:
    """Calibrations in one session; the session's owner commits."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def current(self) -> CalibrationRow | None:
        """The calibration activated last, or None if there is none yet."""
        query = (
            select(CalibrationRow)
            .where(CalibrationRow.activated_at.is_not(None))
            .order_by(CalibrationRow.activated_at.desc(), CalibrationRow.version.desc())
            .limit(1)
        )
        return (await self.session.scalars(query)).one_or_none()

    async def get(self, version: str) -> CalibrationRow | None:
        """The calibration of that version, or None."""
        return await self.session.get(CalibrationRow, version)

    async def put(self, version: str, content: bytes, *, fingerprint: str, at: datetime) -> None:
        """Stores a calibration and makes it the current one.

        Args:
            version: its name; one of the same version is replaced.
            content: what the engine's ``Forecaster.load`` reads.
            fingerprint: SHA-256 of the measurements it was fitted on.
            at: when it becomes the current one.
        """
        await self.session.merge(
            CalibrationRow(version=version, fingerprint=fingerprint, created_at=at, activated_at=at, content=content)
        )
        await self.session.flush()
