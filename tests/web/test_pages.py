"""The pages in a real browser: asked, answered, shared, at fault, submitted to, read by all."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from service.web.pages import PAGES
from tests.web.conftest import Site

pytestmark = pytest.mark.slow_on("postgresql")

QUESTION = {
    "model.name": "llama-3-8b",
    "data.tokens": "1e12",
    "data.sequence_length": "8192",
    "hardware.accelerator": "H100-SXM5-80GB",
    "hardware.count": "256",
    "training.global_batch": "512",
}
ASKED = "&".join(f"{name}={value}" for name, value in QUESTION.items())
COMPARED = ASKED.replace("hardware.accelerator=H100-SXM5-80GB&hardware.count=256&", "")
IMPORT = "/v1/measurements/import"


def quantity(page: Page, title: str) -> str:
    """What the answer says of a quantity, as it reads."""
    return page.locator(".quantity", has=page.get_by_role("heading", name=title, exact=True)).inner_text()


def answered(page: Page) -> Any:
    """The answer behind the numbers, as the page shows it."""
    return page.locator("#call details.answer pre").evaluate("shown => JSON.parse(shown.textContent)")


def give_key(page: Page, key: str) -> None:
    """Answers the page that asks for a key."""
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()


def test_a_question_is_asked_by_keyboard_answered_and_shared(context: BrowserContext, page: Page, site: Site) -> None:
    page.goto("/")
    page.get_by_label("Model (needed)").focus()
    page.keyboard.type("llama 3 8b")
    expect(page.get_by_role("option").first).to_contain_text("llama-3-8b")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Model (needed)")).to_have_value("llama-3-8b")
    for label, text in (("Tokens", "1 T"), ("Sequence length", "8192")):
        page.get_by_label(label, exact=True).focus()
        page.keyboard.type(text)
    page.get_by_label("Accelerator (needed)").focus()
    page.keyboard.type("NVIDIA H100 80GB HBM3")
    page.keyboard.press("Tab")
    page.keyboard.type("256")
    page.get_by_label("Global batch").focus()
    page.keyboard.type("512")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Estimated")

    request = {
        "model": {"name": "llama-3-8b"},
        "data": {"tokens": 1e12, "sequence_length": 8192},
        "hardware": {"accelerator": "H100-SXM5-80GB", "count": 256},
        "training": {"global_batch": 512},
    }
    expected = httpx.post(f"{site.url}/v1/estimates", json=request).json()
    assert answered(page)["duration_hours"] == expected["duration_hours"]
    days = expected["duration_hours"]["p50"] / 24
    assert f"{days:.3g}\N{NO-BREAK SPACE}days" in quantity(page, "Duration")

    shared = context.new_page()
    shared.goto(page.url)
    expect(shared.get_by_role("status")).to_contain_text("Estimated")
    assert quantity(shared, "Duration") == quantity(page, "Duration")
    expect(shared.get_by_label("Accelerators", exact=True)).to_have_value("256")

    shared.locator(".quantity a.figure").first.click()
    found = shared.locator("#call .found")
    expect(found).to_be_in_viewport()
    assert found.inner_text() == str(expected["duration_hours"]["p50"])
    python = str(shared.locator("#call .snippet pre").nth(1).text_content())
    printed = subprocess.run([sys.executable, "-c", python], check=True, capture_output=True, text=True).stdout
    assert f"p50={expected['duration_hours']['p50']}" in printed
    assert '"name": "llama-3-8b"' in str(shared.locator("#call .snippet pre").first.text_content())


def test_a_pasted_config_is_estimated(page: Page) -> None:
    page.goto("/?hardware.accelerator=L40S")
    config = '{"model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32}'
    page.get_by_label("Paste a config.json").fill(config)
    page.get_by_role("button", name="Estimate").click()
    expect(page.get_by_role("status")).to_contain_text("Estimated")
    assert parse_qs(urlsplit(page.url).query)["model.huggingface_config"] == [config]


def test_what_is_wrong_is_said_at_the_field_with_the_way_out(page: Page) -> None:
    page.goto(f"/?{ASKED.replace('H100-SXM5-80GB', 'H1000-SXM5-80GB')}")
    accelerator = page.get_by_label("Accelerator (needed)")
    expect(accelerator).to_be_focused()
    expect(accelerator).to_have_attribute("aria-invalid", "true")
    fault = page.locator(".field", has=accelerator).locator(".fault")
    expect(fault).to_contain_text("H1000-SXM5-80GB")
    expect(page.get_by_role("alert")).to_contain_text("hardware.accelerator")
    accelerator.fill("H100-SXM5-80GB")
    page.get_by_role("button", name="Estimate").click()
    expect(page.get_by_role("status")).to_contain_text("Estimated")
    expect(fault).to_be_hidden()


@pytest.mark.parametrize("text", ["7,5", "1e999"])
def test_a_number_that_is_none_is_not_taken_for_another(page: Page, text: str) -> None:
    page.goto(f"/?{ASKED}")
    expect(page.locator(".headline")).to_be_visible()
    page.get_by_label("Epochs", exact=True).fill(text)
    page.get_by_role("button", name="Estimate").click()
    expect(page.locator(".field", has=page.get_by_label("Epochs", exact=True)).locator(".fault")).to_be_visible()
    expect(page.locator(".headline, #call:visible")).to_have_count(0)


def test_an_address_asks_what_it_says(page: Page) -> None:
    page.goto("/")
    page.goto(f"/?{ASKED}&training.precision=bfloat16")
    expect(page.get_by_role("status")).to_contain_text("Estimated")
    assert answered(page)["layout"]["precision"] == "bf16"
    page.get_by_label("Accelerators", exact=True).fill("128")
    page.get_by_role("button", name="Estimate").click()
    expect(page.locator("#call .snippet pre").first).to_contain_text('"count": 128')
    page.go_back()
    expect(page.locator("#call .snippet pre").first).to_contain_text('"count": 256')
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".headline, #call:visible")).to_have_count(0)
    expect(page.get_by_text("Or start from an example")).to_be_visible()


def test_faults_of_lists_and_of_all_choices_are_said_at_their_fields(page: Page) -> None:
    page.goto(f"/plan?{COMPARED}&hardware.accelerators=L40S, H1000")
    expect(page.get_by_label("Accelerators (needed)")).to_have_attribute("aria-invalid", "true")
    page.goto("/compare?model.name=resnet-50&data.epochs=many&choice=L40S&choice=T4")
    expect(page.get_by_label("Epochs", exact=True)).to_have_attribute("aria-invalid", "true")
    page.goto("/measurements?hardware.count.at_least=lots")
    expect(page.get_by_label("Accelerators, at least")).to_have_attribute("aria-invalid", "true")


def test_many_counts_are_drawn(page: Page) -> None:
    page.goto(f"/scale?{COMPARED}&hardware.accelerator=H100-SXM5-80GB&counts={','.join(map(str, range(1, 41)))}")
    expect(page.get_by_role("status")).to_contain_text("of 40")
    assert page.locator("#time .xtick").count() <= 12


def test_hardware_is_compared_and_scaled(page: Page) -> None:
    page.goto(f"/compare?{COMPARED}&choice=H100-SXM5-80GB~256&choice=A100-SXM4-80GB~256&choice=H1000")
    expect(page.get_by_role("status")).to_have_text("Compared 2 of 3.")
    made = answered(page)
    assert made[0]["duration_hours"]["p50"] < made[1]["duration_hours"]["p50"]
    expect(page.locator(".offer").nth(2)).to_contain_text("H1000")

    page.goto(f"/scale?{COMPARED}&hardware.accelerator=H100-SXM5-80GB&counts=64, 128, 256")
    expect(page.get_by_role("status")).to_contain_text("3 of 3")
    for chart in ("#time", "#cost", "#efficiency"):
        expect(page.locator(f"{chart} .scatterlayer .trace")).to_have_count(3)
        assert page.locator(f"{chart} .scatterlayer .point").count() == 3


def test_plans_are_drawn_and_one_is_chosen(page: Page) -> None:
    page.goto(f"/plan?{COMPARED}&hardware.accelerators=H100-SXM5-80GB, A100-SXM4-80GB&hardware.max_count=256")
    expect(page.get_by_role("status")).to_contain_text("plans")
    plans = answered(page)["plans"]
    assert page.locator("#frontier .scatterlayer .point").count() == len(plans)
    page.get_by_role("row").nth(2).get_by_role("button").click()
    second = plans[1]["hardware"]
    expect(page.locator("#chosen h2")).to_contain_text(f"{second['count']} × {second['accelerator']}")
    page.goto(f"/plan?{COMPARED}&hardware.accelerators=T4&hardware.max_count=1&deadline_hours=1")
    page.get_by_role("button", name="Apply").first.click()
    expect(page.locator("#frontier .scatterlayer .point").first).to_be_visible()


def test_accuracy_is_drawn(page: Page, site: Site) -> None:
    page.goto("/accuracy")
    expect(page.locator("#sources .barlayer .trace")).to_have_count(2)
    accuracy = httpx.get(f"{site.url}/v1/calibrations/current").json()["accuracy"]
    assert page.locator("#sources .barlayer .trace").first.locator(".point").count() == len(accuracy["by_source"])
    assert page.locator("#scatter .scatterlayer .point").count() > 1000
    expect(page.locator("#reliability .scatterlayer .trace")).to_have_count(5)
    page.get_by_label("Family").select_option("gnn")
    expect(page.locator("#scatter .scatterlayer .trace")).to_have_count(4)
    cold = accuracy["overall"]["transformer"]["mape"]
    expect(page.locator("#overview")).to_contain_text(f"{100 * cold:.3g}\N{NO-BREAK SPACE}%")


def test_a_measurement_is_found_and_seen_with_its_residual(page: Page, site: Site) -> None:
    # Beside the shipped ones, other tests may have submitted rows in the name of that source.
    found = httpx.get(f"{site.url}/v1/measurements?source=megatron-sc21-paper&limit=50").json()["items"]
    page.goto("/measurements?source=megatron-sc21-paper")
    expect(page.get_by_role("status")).to_contain_text(f"{len(found)} shown")
    page.get_by_role("row").nth(1).get_by_role("link").click()
    detail = page.get_by_role("region", name="One measurement")
    expect(detail).to_contain_text("predicted")
    identifier = parse_qs(urlsplit(page.url).query)["id"][0]
    assert answered(page)["id"] == identifier
    detail.get_by_role("link", name="Estimate this configuration").click()
    expect(page.get_by_role("status")).to_contain_text("Estimated")


def test_a_dropped_file_is_reported_row_by_row_before_anything_is_stored(page: Page, site: Site, runs: Path) -> None:
    ours = httpx.Client(base_url=site.url, headers={"authorization": f"Bearer {site.key}"})
    before = ours.get("/v1/audit").json()["items"]
    page.goto("/submit")
    dropped = page.evaluate_handle(
        "text => { const made = new DataTransfer(); made.items.add(new File([text], 'runs.csv')); return made; }",
        runs.read_text(),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    give_key(page, site.key)
    expect(page.locator("#report-status")).to_contain_text("3 rows checked, nothing stored yet")
    outcomes = page.locator("#report tbody tr").all_inner_texts()
    assert [text.split()[:2] for text in outcomes] == [["3", "refused"], ["4", "refused"], ["2", "accepted"]]
    assert "hardware.accelerator" in outcomes[0]
    assert "times the peak" in outcomes[1]
    assert ours.get("/v1/audit").json()["items"] == before, "a check left a trace"

    page.get_by_role("button", name="Store 1 row").click()
    expect(page.locator("#report-status")).to_contain_text("1 row stored")
    identifier = page.locator("#report tbody a").inner_text()
    assert httpx.get(f"{site.url}/v1/measurements/{identifier}").json()["status"] == "accepted"


def test_a_measurement_given_by_hand_is_checked_and_submitted(page: Page, site: Site) -> None:
    page.goto("/submit")
    page.evaluate("key => sessionStorage.setItem('traincast-key', key)", site.key)
    page.get_by_label("Model (needed)").fill("resnet-50")
    page.get_by_label("Accelerator (needed)").fill("V100-SXM2-16GB")
    page.get_by_label("Value (needed)").fill("9,900")
    page.get_by_role("button", name="Check").click()
    expect(page.locator(".fault", has_text="belong together")).to_be_visible()
    page.get_by_label("Unit (needed)").select_option("samples_per_second")
    page.get_by_label("Accelerators", exact=True).fill("8")
    page.get_by_label("Precision", exact=True).select_option("fp16")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#status")).to_contain_text("nothing is stored")
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.locator("#status")).to_have_text("Stored.")


def test_a_closed_service_asks_for_a_key(browser: Browser, closed_site: Site) -> None:
    with browser.new_context(base_url=closed_site.url) as context:
        page = context.new_page()
        page.goto(f"/?{ASKED}")
        expect(page.get_by_role("dialog")).to_contain_text("API keys only")
        give_key(page, "tc_wrong")
        expect(page.get_by_role("dialog")).to_contain_text("not valid")
        give_key(page, closed_site.key)
        expect(page.get_by_role("status")).to_contain_text("Estimated")
        page.reload()
        expect(page.get_by_role("status")).to_contain_text("Estimated")


@pytest.mark.slow
def test_the_documentation_calls_with_the_key_it_is_given(browser: Browser, closed_site: Site) -> None:
    with browser.new_context(base_url=closed_site.url) as context:
        page = context.new_page()
        page.goto("/docs")
        page.locator("button.authorize").click()
        page.get_by_label("auth-bearer-value").fill(closed_site.key)
        page.get_by_role("button", name="Apply credentials").click()
        page.get_by_role("button", name="Close", exact=True).click()
        call = page.locator("#operations-catalogs-get_model")
        call.locator(".opblock-summary-control").click()
        call.get_by_role("button", name="Try it out").click()
        call.get_by_role("button", name="Execute").click()
        answer = call.locator(".live-responses-table")
        expect(answer).to_contain_text("200")
        expect(answer).to_contain_text('"llama-3-8b"')


def test_pages_are_readable_by_all_in_light_and_dark(page: Page) -> None:
    for path in (f"/?{ASKED}", "/submit"):
        page.goto(path)
        if "?" in path:
            expect(page.locator("#call")).to_be_visible()
        lightness = {}
        for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            violations = Axe().run(page, options=rules).response["violations"]
            assert not violations, (path, scheme, [(found["id"], found["nodes"][0]["html"]) for found in violations])
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            lightness[scheme] = sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 3
        assert lightness["dark"] < 64 < 192 < lightness["light"]


def test_pages_need_no_internet_and_run_no_foreign_script(anybody: httpx.Client) -> None:
    for shown in PAGES:
        answer = anybody.get(shown.path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|\sstyle=", answer.text), "inline script or style"
        assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.text), "something from elsewhere"


def test_a_page_is_light_and_is_not_sent_twice(anybody: httpx.Client) -> None:
    for shown in PAGES:
        html = anybody.get(shown.path).text
        wanted = re.findall(r'(?:src|href)="(assets/[^"]+)"', html)
        sizes = {"": len(html.encode())}
        while wanted:
            name = wanted.pop()
            if name not in sizes:
                text = anybody.get(f"/{name}").raise_for_status().text
                sizes[name] = len(text.encode())
                wanted += [f"assets/{module}" for module in re.findall(r'from "\./([^"]+)"', text)]
        assert f"assets/{shown.name}.js" in sizes
        assert sum(sizes.values()) < 100_000, sizes
    for name in ("estimate.js", "plotly.min.js"):
        first = anybody.head(f"/assets/{name}")
        again = anybody.get(f"/assets/{name}", headers={"if-none-match": first.headers["etag"]})
        assert again.status_code == 304
