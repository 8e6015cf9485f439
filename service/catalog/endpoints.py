"""The reference tables over HTTP: accelerators, models, data sets, links, prices, grids, each with its sources."""

from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query

from service.catalog.catalog import Catalog, Grid, Price, name_key
from service.catalog.paging import page_of
from service.catalog.schemas import (
    AcceleratorDetail,
    AcceleratorEntry,
    CatalogEntry,
    DatasetEntry,
    GridDetail,
    GridEntry,
    InterconnectEntry,
    MatmulEntry,
    ModelEntry,
    Page,
    PriceEntry,
)
from service.cursors import BadCursorError
from service.dependencies import CatalogDependency
from service.problems import FieldError, NotFound, Unprocessable, responses

router = APIRouter(prefix="/v1", tags=["catalogs"])

Limit = Annotated[int, Query(ge=1, le=1000, description="The most entries to return.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.", examples=["SDEwMC1TWE01LTgwR0I"])]
Search = Annotated[
    str | None,
    Query(
        description="Words that a name or alias contains, in any order; case and punctuation do not matter.",
        examples=["a100 80"],
    ),
]
ANY_NAME = "Canonical name or any alias."

Record = TypeVar("Record")
Shown = TypeVar("Shown", bound=CatalogEntry)


@router.get("/accelerators", summary="Find accelerators", responses=responses(Unprocessable))
def list_accelerators(
    catalog: CatalogDependency,
    q: Search = None,
    vendor: Annotated[str | None, Query(description="Maker.", examples=["nvidia"])] = None,
    kind: Annotated[str | None, Query(description="gpu, asic, cpu, soc, apu.", examples=["gpu"])] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[AcceleratorEntry]:
    """Chips with their dense peaks, memory, links and power, and the names that resolve to them."""
    found = (
        chip
        for chip in catalog.accelerators.values()
        if _contains(q, chip.slug, *chip.aliases) and vendor in (None, chip.vendor) and kind in (None, chip.kind)
    )
    return _page(found, lambda chip: chip.slug, AcceleratorEntry.from_record, limit, cursor)


@router.get("/accelerators/{name:path}", summary="One accelerator", responses=responses(NotFound))
def get_accelerator(
    name: Annotated[str, Path(description=ANY_NAME, examples=["H100-SXM5-80GB"])], catalog: CatalogDependency
) -> AcceleratorDetail:
    """A chip by slug or by what drivers and clouds call it, with the best matrix products measured on it."""
    chip = catalog.accelerator(name)
    if chip is None:
        raise _unknown("accelerators", "accelerator", name, catalog)
    figures = [
        MatmulEntry.from_record(figure, source=figure.source_id)
        for figure in catalog.matmul_figures
        if figure.accelerator == chip.slug and not figure.superseded
    ]
    return AcceleratorDetail.from_record(chip, achievable_matmul=figures)


@router.get("/models", summary="Find models", responses=responses(Unprocessable))
def list_models(
    catalog: CatalogDependency,
    q: Search = None,
    family: Annotated[str | None, Query(description="Kind of model.", examples=["decoder"])] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ModelEntry]:
    """Published models with their shapes and costs; the best matches of a search come first."""
    return _page(
        catalog.search_models(q or "", family), lambda model: model.name, ModelEntry.from_record, limit, cursor
    )


@router.get("/models/{name:path}", summary="One model", responses=responses(NotFound))
def get_model(
    name: Annotated[str, Path(description=ANY_NAME, examples=["llama-3-8b"])], catalog: CatalogDependency
) -> ModelEntry:
    """A model by name or alias, such as `meta-llama/Meta-Llama-3-8B`."""
    model = catalog.model(name)
    if model is None:
        raise _unknown("models", "model", name, catalog)
    return ModelEntry.from_record(model)


@router.get("/datasets", summary="Find data sets", responses=responses(Unprocessable))
def list_datasets(
    catalog: CatalogDependency, q: Search = None, limit: Limit = 100, cursor: Cursor = None
) -> Page[DatasetEntry]:
    """Well-known data sets with their samples and tokens."""
    found = (record for record in catalog.datasets.values() if _contains(q, record.name, *record.aliases))
    return _page(found, lambda record: record.name, DatasetEntry.from_record, limit, cursor)


@router.get("/datasets/{name:path}", summary="One data set", responses=responses(NotFound))
def get_dataset(
    name: Annotated[str, Path(description=ANY_NAME, examples=["imagenet-1k"])], catalog: CatalogDependency
) -> DatasetEntry:
    """A data set by name or alias."""
    record = catalog.dataset(name)
    if record is None:
        raise _unknown("datasets", "data set", name, catalog)
    return DatasetEntry.from_record(record)


@router.get("/interconnects", summary="Find links", responses=responses(Unprocessable))
def list_interconnects(
    catalog: CatalogDependency,
    q: Search = None,
    kind: Annotated[str | None, Query(description="intra or inter (node).", examples=["intra"])] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[InterconnectEntry]:
    """Links between accelerators, within and between nodes."""
    found = (
        link
        for link in catalog.interconnects.values()
        if _contains(q, link.name, link.used_in) and kind in (None, link.kind)
    )
    return _page(found, lambda link: link.name, InterconnectEntry.from_record, limit, cursor)


@router.get("/interconnects/{name:path}", summary="One link", responses=responses(NotFound))
def get_interconnect(
    name: Annotated[str, Path(description=ANY_NAME, examples=["NVLink 4"])], catalog: CatalogDependency
) -> InterconnectEntry:
    """A link by name."""
    link = catalog.interconnect(name)
    if link is None:
        raise _unknown("interconnects", "link", name, catalog)
    return InterconnectEntry.from_record(link)


@router.get("/prices", summary="Find prices", responses=responses(Unprocessable))
def list_prices(
    catalog: CatalogDependency,
    q: Search = None,
    accelerator: Annotated[
        str | None, Query(description="Accelerator, by slug or alias.", examples=["A100-SXM4-80GB"])
    ] = None,
    provider: Annotated[str | None, Query(description="Provider.", examples=["aws"])] = None,
    region: Annotated[str | None, Query(description="The provider's region.", examples=["us-east-1"])] = None,
    kind: Annotated[str | None, Query(description="on_demand, spot, reserved.", examples=["on_demand"])] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[PriceEntry]:
    """Prices by provider, region, kind and date, in USD."""
    slug = accelerator
    if accelerator is not None:
        chip = catalog.accelerator(accelerator)
        slug = chip.slug if chip else accelerator
    found = (
        price
        for price in catalog.prices
        if _contains(q, price.instance, price.accelerator, price.provider)
        and slug in (None, price.accelerator)
        and provider in (None, price.provider)
        and region in (None, price.region)
        and kind in (None, price.kind)
    )
    return _page(found, price_name, _price, limit, cursor)


@router.get("/prices/{name:path}", summary="One price", responses=responses(NotFound))
def get_price(
    name: Annotated[
        str,
        Path(
            description="`name` of an entry of the list.", examples=["aws:p4d.24xlarge:us-east-1:on_demand:2026-07-20"]
        ),
    ],
    catalog: CatalogDependency,
) -> PriceEntry:
    """A price by its name in the list."""
    for price in catalog.prices:
        if price_name(price) == name:
            return _price(price)
    raise NotFound(f"There is no price {name!r}; GET /v1/prices lists them.")


@router.get("/grids", summary="Find grids", responses=responses(Unprocessable))
def list_grids(
    catalog: CatalogDependency,
    q: Search = None,
    kind: Annotated[
        str | None,
        Query(description="country, us_state, grid_zone, bidding_zone, cloud_region, world.", examples=["country"]),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[GridEntry]:
    """The carbon intensity of electricity by region, the latest year known."""
    found = (
        grid
        for grid in catalog.grids.values()
        if _contains(q, grid.region, grid.region_name, *_cloud_regions(grid, catalog)) and kind in (None, grid.kind)
    )
    return _page(found, lambda grid: grid.region, lambda grid: _grid(grid, catalog), limit, cursor)


@router.get("/grids/{name:path}", summary="One grid", responses=responses(NotFound))
def get_grid(
    name: Annotated[
        str, Path(description="Code or name of a region, or a cloud region such as `us-east-1`.", examples=["SWE"])
    ],
    catalog: CatalogDependency,
) -> GridDetail:
    """A region's electricity, with earlier years."""
    grid = catalog.grid(name)
    if grid is None:
        raise _unknown("grids", "grid", name, catalog)
    history = [_grid(past, catalog) for past in catalog.grid_history if past.region == grid.region]
    return GridDetail.from_record(grid, cloud_regions=_cloud_regions(grid, catalog), history=history)


def price_name(price: Price) -> str:
    """The name of a price: provider, instance, region, kind and date."""
    return ":".join((price.provider, price.instance, price.region, price.kind, price.date))


def _price(price: Price) -> PriceEntry:
    return PriceEntry.from_record(price, name=price_name(price))


def _grid(grid: Grid, catalog: Catalog) -> GridEntry:
    return GridEntry.from_record(grid, cloud_regions=_cloud_regions(grid, catalog))


def _cloud_regions(grid: Grid, catalog: Catalog) -> list[str]:
    return [f"{region.provider}:{region.region}" for region in catalog.regions if region.grid == grid.region]


def _contains(text: str | None, *names: str) -> bool:
    """Whether one of the names contains every word of the text."""
    words = [name_key(word) for word in (text or "").split()]
    return not words or any(all(word in name_key(name) for word in words) for name in names)


def _page(
    found: Iterable[Record],
    name: Callable[[Record], str],
    show: Callable[[Record], Shown],
    limit: int,
    cursor: str | None,
) -> Page[Shown]:
    try:
        records, following = page_of(found, name, limit=limit, cursor=cursor)
    except BadCursorError as error:
        raise Unprocessable(
            str(error), [FieldError(field="cursor", message=str(error), hint="Start without one.")]
        ) from None
    return Page(items=[show(record) for record in records], next_cursor=following)


def _unknown(kind: str, thing: str, name: str, catalog: Catalog) -> NotFound:
    near = catalog.suggest(kind, name)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return NotFound(f"There is no {thing} {name!r} in the catalog.{hint}")
