"""Keeps a replica on the current calibration, whichever replica fitted or activated it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from service.calibrations.repository import CalibrationRepository
from service.database import Database
from service.engine.forecast import Forecaster

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often a replica asks which calibration is current. Reading a new one takes some two seconds: with what it waits,
every replica serves it within five."""


class CurrentCalibration:
    """Watches which calibration is current, and hands its forecaster over whole: requests under way keep theirs."""

    def __init__(self, database: Database, use: Callable[[Forecaster], Awaitable[None]]) -> None:
        """
        Args:
            database: where calibrations are stored.
            use: called with each new forecaster, and waited for; raises if it is of no use.
        """
        self.database = database
        self.use = use
        self.version: str | None = None
        """The calibration that was last read, be it usable or not."""

    async def refresh(self) -> None:
        """Reads the current calibration if it is another than before; one that cannot be used changes nothing.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: if the database cannot be reached.
        """
        async with self.database.sessions() as session:
            repository = CalibrationRepository(session)
            version = await repository.current_version()
            if version is None or version == self.version:
                return
            content = await repository.content(version)
        self.version = version
        if content is None:
            return
        try:
            forecaster = await asyncio.to_thread(Forecaster.load, content)
            await self.use(replace(forecaster, calibration_version=version))
        except Exception:  # whatever is wrong with it, the one before goes on answering, and the next is watched for
            logger.exception("calibration %s cannot be used", version)
            return
        logger.info("calibration %s is in use", version)

    async def watch(self) -> None:
        """Refreshes until it is cancelled; while the database is away, what is in use stays."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.refresh()
            except (SQLAlchemyError, OSError) as error:
                logger.warning("the current calibration cannot be asked for: %s", error)
