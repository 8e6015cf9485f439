"""Finding measurements: any field, whole pages, nobody else's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.cursors import BadCursorError
from service.database import Database
from service.measurements.counts import source_counts
from service.measurements.repository import Filter, MeasurementRepository, SourceRepository, SourceRows
from service.measurements.tables import VISIBILITIES
from service.teams.repository import TeamRepository

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(shared_database: str) -> AsyncIterator[AsyncSession]:
    """A session of a seeded database, whose changes are rolled back."""
    database = Database(shared_database)
    async with database.sessions() as session:
        yield session
    await database.close()


@pytest.fixture(scope="module")
def everything(shared_database: str) -> list[tuple[str, dict[str, Any]]]:
    """Every measurement's id and fields, in order of arrival."""

    async def read() -> list[tuple[str, dict[str, Any]]]:
        database = Database(shared_database)
        async with database.sessions() as session:
            rows = [(row.id, row.fields) async for row in MeasurementRepository(session).stream()]
        await database.close()
        return rows

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter("model.family", ("cnn", "vit")), lambda fields: fields.get("model.family") in ("cnn", "vit")),
        (Filter("training.sharding", ("zero3",)), lambda fields: fields.get("training.sharding") == "zero3"),
        (Filter("training.tensor_parallel", (8,)), lambda fields: fields.get("training.tensor_parallel") == 8),
        (Filter("software.compile", (True,)), lambda fields: fields.get("software.compile") is True),
        (Filter("hardware.count", (512,), "at_least"), lambda fields: fields.get("hardware.count", 0) >= 512),
        (
            Filter("data.sequence_length", (128,), "at_most"),
            lambda fields: fields.get("data.sequence_length", 1e9) <= 128,
        ),
        (Filter("model.name", ("LLAMA",), "contains"), lambda fields: "llama" in fields.get("model.name", "").lower()),
        (
            Filter("provenance.notes", ("30% of",), "contains"),
            lambda fields: "30% of" in fields.get("provenance.notes", ""),
        ),
    ],
    ids=lambda value: value.field if isinstance(value, Filter) else "",
)
async def test_any_field_can_be_filtered_on(
    session: AsyncSession,
    everything: list[tuple[str, dict[str, Any]]],
    wanted: Filter,
    expected: Callable[[dict[str, Any]], bool],
) -> None:
    repository = MeasurementRepository(session)
    found = [row.id async for row in repository.stream([wanted])]
    assert found == [id for id, fields in everything if expected(fields)]  # noqa: A001
    assert found
    assert await repository.count([wanted]) == len(found)


async def test_all_filters_must_hold(session: AsyncSession) -> None:
    repository = MeasurementRepository(session)
    page = await repository.page([Filter("model.family", ("moe",)), Filter("training.precision", ("fp8",))], limit=50)
    assert page.items
    assert {(row.model_family, row.precision) for row in page.items} == {("moe", "fp8")}


@pytest.mark.parametrize(
    "wanted",
    [
        [Filter("provenance.source", ("dgxc-benchmarking",))],
        [Filter("model.name", ("Wide-ResNet-50", "EfficientNet-B4", "efficientnet-b4", "no such model"))],
    ],
    ids=["one value", "several values"],
)
async def test_pages_join_into_the_whole_without_gap_or_repeat(session: AsyncSession, wanted: list[Filter]) -> None:
    repository = MeasurementRepository(session)
    everything = [row.id async for row in repository.stream(wanted)]
    paged: list[str] = []
    cursor = None
    while True:
        page = await repository.page(wanted, limit=40, cursor=cursor)
        paged += [row.id for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert paged == everything
    assert len(paged) > 40


@pytest.mark.parametrize(
    "wanted",
    [
        [Filter("training.tensor_parallel", (8,))],
        [Filter("model.family", ("decoder",)), Filter("training.tensor_parallel", (8,))],
        [Filter("model.family", ("moe", "gnn", "segmentation")), Filter("training.precision", ("bf16",))],
    ],
    ids=["no index", "an index narrows", "several values"],
)
async def test_pages_that_look_at_few_rows_join_into_the_whole_too(session: AsyncSession, wanted: list[Filter]) -> None:
    repository = MeasurementRepository(session)
    everything = [row.id async for row in repository.stream(wanted)]
    page = await repository.page(wanted, limit=50, looked_at=300)
    pages = [page]
    while pages[-1].next_cursor is not None:
        pages.append(await repository.page(wanted, limit=50, cursor=pages[-1].next_cursor, looked_at=300))
    assert [row.id for page in pages for row in page.items] == everything
    assert any(len(page.items) < 50 for page in pages[:-1])


@pytest.mark.parametrize("team", [None, "ours"])
@pytest.mark.parametrize(
    "wanted",
    [
        [Filter("provenance.source", ("mixed",))],
        [Filter("model.name", ("odd",)), Filter("hardware.accelerator", ("V100-SXM2-32GB",))],
        [Filter("provenance.source", ("mixed",)), Filter("training.tensor_parallel", (8,))],
    ],
    ids=["a source", "a model on a chip", "an index narrows"],
)
async def test_a_list_joins_what_a_team_keeps_to_itself_with_what_all_share(
    session: AsyncSession, team: str | None, wanted: list[Filter]
) -> None:
    repository = MeasurementRepository(session)
    for name in ("ours", "theirs"):
        await TeamRepository(session).obtain(f"team {name}", team_id=name)
    fields = {"provenance.source": "mixed", "model.name": "odd", "hardware.accelerator": "V100-SXM2-32GB"}
    seen: list[str] = []
    for number in range(60):
        owner, visibility = ("ours", "theirs")[number % 3 > 1], VISIBILITIES[number % 2]
        stated = {**fields, "training.tensor_parallel": 8 if number % 7 > 3 else 1}
        row = await repository.add(stated, team_id=owner, visibility=visibility)
        passes = all(stated[one.field] in one.values for one in wanted)
        if passes and (visibility == "shared" or owner == team):
            seen.append(row.id)
    page = await repository.page(wanted, team_id=team, limit=4, looked_at=6)
    found = [row.id for row in page.items]
    while page.next_cursor is not None:
        page = await repository.page(wanted, team_id=team, limit=4, cursor=page.next_cursor, looked_at=6)
        found += [row.id for row in page.items]
    assert found == seen
    assert [row.id for row in await repository.following(0, wanted, team_id=team)] == seen


@pytest.mark.parametrize("cursor", ["", "nonsense", "bQ", "4pyT", "bTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "x' OR 1=1"])
async def test_a_made_up_cursor_is_refused(session: AsyncSession, cursor: str) -> None:
    with pytest.raises(BadCursorError):
        await MeasurementRepository(session).page(cursor=cursor)


@pytest.mark.parametrize("field", ["nodots", 'a."b', "a.b' OR 1=1", "a.b.c d", ""])
async def test_what_is_no_field_is_refused(session: AsyncSession, field: str) -> None:
    with pytest.raises(ValueError, match="dotted name"):
        await MeasurementRepository(session).page([Filter(field, ("x",))])


async def test_a_stored_measurement_reads_back_word_for_word(session: AsyncSession) -> None:
    fields = {
        "provenance.source": "fairseq-examples",
        "provenance.notes": 'commas, "quotes" and × signs',
        "model.name": "my-model",
        "model.parameters": 175_181_291_520.0,
        "hardware.accelerator": "V100-SXM2-32GB",
        "hardware.count": 0.5,
        "software.framework_version": "2.10",
        "software.compile": False,
        "result.value": 1e-9,
        "result.unit": "seconds_per_step",
    }
    repository = MeasurementRepository(session)
    await TeamRepository(session).obtain("our team", team_id="ours")
    stored = await repository.add(fields, team_id="ours", visibility="team", status="quarantined", status_reason="odd")
    session.expunge_all()
    assert await repository.get(stored.id) is None
    seen = await repository.get(stored.id, team_id="ours")
    assert seen is not None
    assert seen.fields == fields
    assert (seen.status, seen.status_reason, seen.accelerator_count) == ("quarantined", "odd", 0.5)


async def test_what_one_team_keeps_to_itself_another_does_not_see(session: AsyncSession) -> None:
    repository = MeasurementRepository(session)
    shared = await repository.count()
    fields = {"provenance.source": "fairseq-examples", "hardware.accelerator": "V100-SXM2-32GB"}
    await TeamRepository(session).obtain("our team", team_id="ours")
    await repository.add(fields, team_id="ours", visibility="team")
    assert await repository.count() == await repository.count(team_id="theirs") == shared
    assert await repository.count(team_id="ours") == shared + 1


async def test_sources_are_listed_and_counted(session: AsyncSession) -> None:
    sources = SourceRepository(session)
    first, cursor = await sources.page(limit=3)
    second, _ = await sources.page(limit=3, cursor=cursor)
    names = [source.name for source in (*first, *second)]
    assert names == sorted(set(names))
    assert len(names) == 6
    count = await MeasurementRepository(session).count([Filter("provenance.source", (names[0],))])
    assert (await sources.counts())[SourceRows(names[0], True)] == count
    newest = await sources.newest()
    assert await sources.counts(above=newest) == {}
    assert await sources.counts(up_to=newest) == await sources.counts()


async def test_a_source_counts_what_arrived_since_all_were_counted(seeded_database: str) -> None:
    database = Database(seeded_database)
    counts = source_counts(database)
    before = await counts.rows()
    fields = {"provenance.source": "fairseq-examples", "hardware.accelerator": "V100-SXM2-32GB"}
    async with database.sessions() as session:
        await MeasurementRepository(session).add(fields)
        await MeasurementRepository(session).add({**fields, "provenance.source": "new-here"})
        await MeasurementRepository(session).add(fields, status="quarantined")
        await session.commit()
    after = await counts.rows()
    await database.close()
    assert {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)} == {
        SourceRows("fairseq-examples", False): 1,
        SourceRows("new-here", False): 1,
    }
