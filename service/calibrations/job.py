"""A replica's side of fitting calibrations: takes the next one, has it fitted in a process, judges and stores it.

Exactly one is fitted at a time among all replicas (``service.jobs``). If the fitting process dies, it is started again;
if the replica dies, another one finds the calibration still `running` and starts it again.
"""

import asyncio
import json
import logging
import math
import os
import signal
import sys
import tempfile
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.calibrations.fitting import CONTENT, IDS, SUMMARY, Summary
from service.calibrations.repository import CalibrationRepository, FittedRowRepository
from service.calibrations.service import stored_report
from service.calibrations.verdict import Verdict, judge
from service.database import Database
from service.jobs import Lease, keep_working
from service.threads import ONE_THREAD

logger = logging.getLogger(__name__)

LEASE = "calibration"
MOST_ATTEMPTS = 4
"""How often a fit is started before it counts as failed; deaths of replicas count. Judgement."""
COUNT_SECONDS = 10.0
"""How often new measurements are counted at most."""
COUNT_RESTS = 100.0
"""Times as long as that takes that pass before the next count: a hundredth of one processor, however many there are."""
ERROR_LINES = 5
"""Lines of the fitting process's last words that are kept with a failure."""


class CalibrationJobs:
    """Fits what is queued, and queues by itself after enough new measurements."""

    def __init__(self, database: Database, url: str, *, calibrate_after: int | None) -> None:
        """
        Args:
            database: where calibrations are queued and stored.
            url: its URL, password included, for the fitting process.
            calibrate_after: newly usable submitted measurements that queue a fit by themselves; None: none do.
        """
        self.database = database
        self.url = url
        self.calibrate_after = calibrate_after
        self.lease = Lease(database, LEASE)
        self._counts_from = -math.inf

    async def run(self) -> None:
        """Works until it is cancelled."""
        await keep_working(self.lease, self.due, self.work)

    async def due(self) -> bool:
        """Whether a fit waits, or was left by a process that died, or enough new measurements ask for one."""
        async with self.database.sessions() as session:
            repository = CalibrationRepository(session)
            if await repository.is_unfinished():
                return True
            now = time.monotonic()
            if self.calibrate_after is None or now < self._counts_from:
                return False
            fitted = await repository.submitted_rows_of_newest()
            submitted = await FittedRowRepository(session).submitted()
            counted = time.monotonic()
            self._counts_from = counted + max(COUNT_SECONDS, COUNT_RESTS * (counted - now))
            return submitted - fitted >= self.calibrate_after

    async def work(self) -> None:
        """Fits the next calibration; called under the lease."""
        version = await self._start()
        if version is None:
            return
        logger.info("calibration %s: fitting", version)
        with tempfile.TemporaryDirectory(prefix="traincast-") as name:
            folder = Path(name)
            trouble = await self._fit(version, folder)
            if trouble is None:
                await self._store(version, folder)
            else:
                await self._give_up_or_retry(version, trouble)

    async def _start(self) -> str | None:
        """Marks the calibration to fit as running; queues one first if only new measurements made this due."""
        async with self.database.writing() as session:
            await self.lease.fence(session)
            repository = CalibrationRepository(session)
            row = await repository.next_unfinished()
            if row is None and self.calibrate_after is not None:
                row = await repository.request(trigger="automatic", forced=False, team_id=None)
            if row is None:
                return None
            if row.attempts >= MOST_ATTEMPTS:
                await repository.fail(row.version, f"Its process died {row.attempts} times.")
                await session.commit()
                return None
            submitted = await FittedRowRepository(session).submitted()
            await repository.update(
                row.version,
                status="running",
                stage="starting",
                progress=0.0,
                attempts=row.attempts + 1,
                started_at=datetime.now(UTC),
                submitted_rows=submitted,
            )
            await session.commit()
            return row.version

    async def _fit(self, version: str, folder: Path) -> str | None:
        """Runs the fitting process to its end and relays its progress; its last words if it failed."""
        environment = os.environ | ONE_THREAD | {"TRAINCAST_DATABASE_URL": self.url}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "service.calibrations.fitting",
            str(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        last_words = asyncio.create_task(_last_lines(process.stderr))
        try:
            async for line in process.stdout:
                await self._relay(version, line)
            code = await process.wait()
            words = await last_words
        finally:
            if process.returncode is None:
                # With the workers that it forked: they hold its pipes, and the wait would last until they notice.
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
            last_words.cancel()
        if code == 0:
            return None
        return words or f"the fitting process ended with code {code}"

    async def _relay(self, version: str, line: bytes) -> None:
        told: dict[str, Any] = json.loads(line)
        async with self.database.writing() as session:
            await self.lease.fence(session)
            await CalibrationRepository(session).update(version, stage=told["stage"], progress=told["progress"])
            await session.commit()

    async def _store(self, version: str, folder: Path) -> None:
        """Stores what was fitted; puts it in use if it is no worse than what is, or was forced."""
        content = await asyncio.to_thread((folder / CONTENT).read_bytes)
        ids = await asyncio.to_thread((folder / IDS).read_bytes)
        summary = Summary(**json.loads(await asyncio.to_thread((folder / SUMMARY).read_text)))
        async with self.database.sessions() as session:
            before = await CalibrationRepository(session).current_content()
        verdict = await asyncio.to_thread(_judge, before, content)
        now = datetime.now(UTC)
        async with self.database.writing() as session:
            await self.lease.fence(session)
            repository = CalibrationRepository(session)
            row = await repository.get(version)
            forced = row is not None and row.forced
            in_use = verdict.better or forced
            await repository.update(
                version,
                status="succeeded",
                stage="done",
                progress=1.0,
                finished_at=now,
                activated_at=now if in_use else None,
                verdict=verdict.reason if verdict.better or not forced else f"Put in use by force. {verdict.reason}",
                comparison=verdict.comparison(),
                digest=summary.digest,
                fingerprint=summary.fingerprint,
                rows=summary.rows,
                submitted_rows=summary.submitted_rows,
                measurement_ids=ids,
                content=content,
            )
            await session.commit()
        logger.info("calibration %s: fitted on %d rows. %s", version, summary.rows, verdict.reason)

    async def _give_up_or_retry(self, version: str, trouble: str) -> None:
        async with self.database.writing() as session:
            await self.lease.fence(session)
            repository = CalibrationRepository(session)
            row = await repository.get(version)
            if row is not None and row.attempts >= MOST_ATTEMPTS:
                await repository.fail(version, trouble)
            await session.commit()
        logger.error("calibration %s: the fit failed: %s", version, trouble)


def _judge(before: bytes | None, after: bytes) -> Verdict:
    report = stored_report(after)
    return judge(stored_report(before) if before else None, report or {})


async def _last_lines(stream: asyncio.StreamReader) -> str:
    lines: deque[str] = deque(maxlen=ERROR_LINES)
    async for line in stream:
        lines.append(line.decode(errors="replace").rstrip())
    return "\n".join(lines)
