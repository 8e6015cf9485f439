"""The process that fits: ``python -m service.calibrations.fitting FOLDER``, started by the job of a replica.

A process of its own keeps a fit's minutes of computing from holding up requests: nothing is shared, and it steps back
(nice) where both want the processor. It only reads the database. Progress goes to standard output, a JSON object a
line; the result into the folder: ``calibration.json.gz``, ``ids.gz``, ``summary.json``. What it writes into the
database is the replica's to say, which holds the lease.
"""

import asyncio
import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from service.calibrations.fit import calibrate
from service.calibrations.repository import FittedRow, FittedRowRepository, pack_ids
from service.calibrations.team_rows import measured_rows
from service.catalog.catalog import load_catalog
from service.database import Database
from service.settings import get_settings

CONTENT, IDS, SUMMARY = "calibration.json.gz", "ids.gz", "summary.json"
NICENESS = 10
PARENT_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Summary:
    """What a fit says of itself beside its content."""

    digest: str
    fingerprint: str
    rows: int
    submitted_rows: int  # there to be read, be they in the sample or not


def main() -> None:
    """Fits the shared calibration of the settings' database."""
    folder = Path(sys.argv[1])
    _end_with_parent()
    # The accuracy report forks workers; they, too, must not outlive the replica.
    os.register_at_fork(after_in_child=_end_with_parent)
    os.nice(NICENESS)
    _tell("reading measurements", 0.0)
    rows, submitted = asyncio.run(_rows())
    data = measured_rows(rows, load_catalog())
    processes = max(1, (os.cpu_count() or 1) // 2)
    result = calibrate(data, progress=_tell, processes=processes)
    forecaster = result.forecaster
    fitted = {str(name) for name in data.ids}
    summary = Summary(forecaster.calibration_version, data.fingerprint, len(fitted), submitted)
    (folder / CONTENT).write_bytes(forecaster.dump())
    (folder / IDS).write_bytes(pack_ids([row.id for row in rows if row.id in fitted]))
    (folder / SUMMARY).write_text(json.dumps(asdict(summary)))


async def _rows() -> tuple[list[FittedRow], int]:
    """The measurements to fit, and how many of them teams have submitted."""
    database = Database(get_settings().database)
    try:
        async with database.sessions() as session:
            repository = FittedRowRepository(session)
            return await repository.all(), await repository.submitted()
    finally:
        await database.close()


def _tell(stage: str, share: float) -> None:
    print(json.dumps({"stage": stage, "progress": share}), flush=True)


def _end_with_parent() -> None:
    """Ends this process soon after the one that started it, which may die without a word."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
