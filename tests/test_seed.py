"""Seeding: whole, idempotent, following the shipped files, and safe when several start at once."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from service.calibrations.repository import CalibrationRepository
from service.catalog.records import DATA
from service.database import Database
from service.measurements.repository import MeasurementRepository, SourceRepository
from service.seed import CALIBRATION, NO_LONGER_SHIPPED, alembic_config, prepare

pytestmark = pytest.mark.anyio


def rows_in(folder: Path) -> int:
    """How many measurements the folder's files hold."""
    total = 0
    for path in (folder / "measurements").glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as stream:
            total += sum(1 for _ in csv.DictReader(stream))
    return total


@pytest.fixture
def small_data(tmp_path: Path) -> Path:
    """A folder of data with two of the shipped sources and no calibration."""
    (tmp_path / "measurements").mkdir()
    shutil.copy(DATA / "sources.csv", tmp_path)
    for name in ("levanter-1.0-release.csv", "fairseq-examples.csv"):
        shutil.copy(DATA / "measurements" / name, tmp_path / "measurements")
    return tmp_path


async def test_all_that_ships_arrives(shared_database: str) -> None:
    database = Database(shared_database)
    async with database.sessions() as session:
        assert await MeasurementRepository(session).count() == rows_in(DATA)
        counts = await SourceRepository(session).counts()
    await database.close()
    assert sum(counts.values()) == rows_in(DATA)


async def test_seeding_again_changes_nothing(empty_database: str, small_data: Path) -> None:
    database = Database(empty_database)
    ids = []
    for _ in range(2):
        await prepare(database, data=small_data)
        async with database.sessions() as session:
            ids.append([(row.sequence, row.id, row.status) async for row in MeasurementRepository(session).stream()])
    await database.close()
    assert ids[0] == ids[1]
    assert len(ids[0]) == rows_in(small_data)


async def test_a_measurement_keeps_its_id_in_every_database(databases_of_both: list[str], small_data: Path) -> None:
    ids = []
    for url in databases_of_both:
        database = Database(url)
        await prepare(database, data=small_data)
        async with database.sessions() as session:
            ids.append({row.id async for row in MeasurementRepository(session).stream()})
        await database.close()
    assert ids[0] == ids[1]


@pytest.fixture
def databases_of_both(empty_database: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two empty databases, of which one at least is SQLite."""
    return [empty_database, f"sqlite:///{tmp_path_factory.mktemp('other') / 'other.sqlite3'}"]


async def test_a_row_taken_out_of_the_files_is_withdrawn_and_comes_back_with_them(
    empty_database: str, small_data: Path
) -> None:
    database = Database(empty_database)
    path = small_data / "measurements" / "levanter-1.0-release.csv"
    whole = path.read_text(encoding="utf-8")
    statuses = []
    for content in (whole, "".join(whole.splitlines(keepends=True)[:-1]), whole):
        path.write_text(content, encoding="utf-8")
        await prepare(database, data=small_data)
        async with database.sessions() as session:
            repository = MeasurementRepository(session)
            statuses.append([(row.status, row.status_reason) async for row in repository.stream()])
    await database.close()
    assert statuses[1].count(("withdrawn", NO_LONGER_SHIPPED)) == 1
    assert statuses[0] == statuses[2] == [("accepted", None)] * rows_in(small_data)


async def test_an_unreadable_row_stops_the_seed_and_leaves_nothing(empty_database: str, small_data: Path) -> None:
    path = small_data / "measurements" / "zz.csv"
    path.write_text("provenance.source,hardware.count\nfairseq-examples,many\n", encoding="utf-8")
    database = Database(empty_database)
    with pytest.raises(ValueError, match=r"zz\.csv, line 2: .*hardware\.count"):
        await prepare(database, data=small_data)
    path.unlink()
    await prepare(database, data=small_data)
    async with database.sessions() as session:
        assert await MeasurementRepository(session).count() == rows_in(small_data)
    await database.close()


def start_at_once(url: str) -> list[tuple[int, str]]:
    """How two processes that seed one database at the same time end, and what they say."""
    environment = os.environ | {"TRAINCAST_DATABASE_URL": url}
    command = [str(Path(sys.executable).with_name("traincast")), "seed"]
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in processes]
    return [(process.returncode, words) for process, words in zip(processes, said, strict=True)]


async def test_replicas_that_start_at_once_seed_once(empty_database: str) -> None:
    outcomes = start_at_once(empty_database)
    assert [code for code, _ in outcomes] == [0, 0], outcomes
    database = Database(empty_database)
    async with database.sessions() as session:
        assert await MeasurementRepository(session).count() == rows_in(DATA)
    await database.close()


def test_a_database_that_is_away_is_told_in_one_line() -> None:
    code, said = start_at_once("postgresql://nobody@127.0.0.1:1/none")[0]
    assert (code, said.count("\n"), said.startswith("TRAINCAST_DATABASE_URL: ")) == (1, 1, True), said


async def test_the_shipped_calibration_is_current(shared_database: str) -> None:
    database = Database(shared_database)
    async with database.sessions() as session:
        content = await CalibrationRepository(session).current_content()
    await database.close()
    assert content == CALIBRATION.read_bytes()


async def test_without_a_shipped_calibration_there_is_none(empty_database: str, small_data: Path) -> None:
    database = Database(empty_database)
    await prepare(database, data=small_data)
    async with database.sessions() as session:
        assert await CalibrationRepository(session).current_version() is None
    await database.close()


@pytest.mark.slow_on("postgresql")
def test_a_start_with_nothing_new_loads_no_alembic(shared_database: str) -> None:
    script = f"""
import asyncio, sys
from service.database import Database
from service.seed import prepare
asyncio.run(prepare(Database({shared_database!r})))
assert "alembic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_newest_migration_is_told_by_its_files_name() -> None:
    files = (Path(__file__).parent.parent / "migrations" / "versions").glob("[0-9]*.py")
    newest = max(path.name for path in files).partition("_")[0]
    with create_engine("sqlite://").connect() as connection:
        assert ScriptDirectory.from_config(alembic_config(connection)).get_heads() == [newest]
