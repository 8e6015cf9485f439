"""A real browser that looks at the running service."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from service.app import create_app
from service.settings import Settings
from tests.conftest import make_key, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

PATIENCE_SECONDS = 60
"""How long a test waits for what must appear, on the slowest machine."""


@dataclass(frozen=True)
class Site:
    """A running service that people look at, and a key of a team that may submit to it."""

    url: str
    database: str
    key: str


@pytest.fixture(scope="module")
def site(writable: tuple[str, str]) -> Site:
    """A service that anybody may read."""
    url, database = writable
    return Site(url, database, make_key(database, "readers", "submit"))


@pytest.fixture(scope="module")
def closed_site(site: Site) -> Iterator[Site]:
    """The same measurements, served to keys only."""
    with serving(create_app(Settings(database_url=site.database, open_reading=False))) as url:
        yield Site(url, site.database, site.key)


@pytest.fixture(scope="module")
def browser(site: Site, closed_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium. It starts after the services: while it runs, this thread has an event loop that is not to be nested."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser is installed: one of {', '.join(BROWSERS)} (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_SECONDS * 1000)
        chromium = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    """A fresh profile, light, at the open service; what a page's script throws fails the test."""
    made = browser.new_context(base_url=site.url, color_scheme="light")
    faults: list[str] = []
    made.on("weberror", lambda fault: faults.append(str(fault.error)))
    yield made
    made.close()
    assert not faults, faults


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab."""
    return context.new_page()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A file of measurements: one as forecast, one of an unknown chip, one faster than the hardware can be."""
    file = tmp_path / "runs.csv"
    file.write_text(
        "model.name,data.image_size,hardware.accelerator,hardware.count,training.precision,training.global_batch,"
        "result.value,result.unit\n"
        "resnet-50,224,V100-SXM2-16GB,8,fp16,2048,9800,samples_per_second\n"
        "resnet-50,224,V1000,8,fp16,2048,9800,samples_per_second\n"
        "resnet-50,224,V100-SXM2-16GB,8,fp16,2048,9800000,samples_per_second\n"
    )
    return file
