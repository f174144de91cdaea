"""The page in a real browser. `AUTOMEDSAM_SCREENSHOTS=FOLDER` keeps pictures of it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finished_cohort import SHAPE
from three_tries import three_tries

from automedsam.review.server import ReviewServer

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Any) -> Iterator[Any]:
    """Opens a server's page; anything that the browser complains about fails the test."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1400, "height": 860})
    page = context.new_page()
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def opened(server: ReviewServer) -> Any:
        page.goto(server.url)
        page.wait_for_selector(".row.current")
        return page

    yield opened
    context.close()
    assert not complaints


def picture(page: Any, name: str) -> None:
    if folder := os.environ.get("AUTOMEDSAM_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"review-{name}.png"))


def test_a_review_by_keys(new_page: Any, served: ReviewServer) -> None:
    page = new_page(served)
    playwright.expect(page.locator("#message")).to_have_text("The file is damaged.")
    page.keyboard.press("j")
    playwright.expect(page.locator("[data-plane=axial] figcaption")).to_contain_text("axial")
    playwright.expect(page.locator("#name")).to_have_text("case000")
    # The middle of the slices with a mask.
    playwright.expect(page.locator("[data-plane=axial] figcaption")).to_have_text(f"axial 5 / {SHAPE[0]}")
    page.keyboard.press("d")
    playwright.expect(page.locator("[data-plane=axial] figcaption")).to_have_text(f"axial 8 / {SHAPE[0]}")
    page.keyboard.press("2")
    page.keyboard.press("ArrowUp")
    picture(page, "case")
    page.keyboard.press("n")
    page.keyboard.type("too large at the back")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#saved")).to_have_text("Saved")
    page.keyboard.press("f")
    playwright.expect(page.locator("#name")).to_have_text("case001")
    decided = served.results.decisions.of("case000")
    assert (decided["decision"], decided["note"]) == ("fix", "too large at the back")
    playwright.expect(page.locator("[data-plane=axial] figcaption")).to_contain_text("axial")
    page.keyboard.press("a")
    playwright.expect(page.locator("#name")).to_have_text("case002")
    playwright.expect(page.locator("#summary")).to_contain_text("2 of 4 reviewed: 1 accepted, 1 to fix")
    page.select_option("#filter", "fix")
    playwright.expect(page.locator(".row b")).to_have_text(["case000"])
    page.select_option("#filter", "all")
    page.fill("#search", "TOO LARGE")
    playwright.expect(page.locator(".row b")).to_have_text(["case000"])
    picture(page, "filtered")
    page.reload()
    page.wait_for_selector(".row[data-decision=fix]")


def test_the_outline_lies_on_the_mask(new_page: Any, served: ReviewServer) -> None:
    page = new_page(served)
    page.keyboard.press("j")
    playwright.expect(page.locator("[data-plane=axial] figcaption")).to_contain_text("axial")
    reds = """() => {
        const canvas = document.querySelector('[data-plane=axial] canvas');
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let found = [Infinity, Infinity, -1, -1];
        for (let i = 0; i < data.length; i += 4)
            if (data[i] > 180 && data[i + 1] < 90 && data[i + 2] < 70) {
                const x = (i / 4) % canvas.width, y = Math.floor(i / 4 / canvas.width);
                found = [Math.min(found[0], x), Math.min(found[1], y), Math.max(found[2], x), Math.max(found[3], y)];
            }
        return [...found, canvas.width, canvas.height];
    }"""
    page.wait_for_function(f"() => ({reds})()[2] > -1")
    x0, y0, x1, y1, width, height = page.evaluate(reds)
    scale = min(width / 16, height / 20)
    left, top = (width - 16 * scale) / 2, (height - 20 * scale) / 2
    # The mask covers columns 5 to 10 and rows 6 to 11.
    expected = [left + 5 * scale, top + 6 * scale, left + 11 * scale, top + 12 * scale]
    assert [x0, y0, x1, y1] == pytest.approx(expected, abs=3)
    page.keyboard.press("o")
    # It is drawn again at the next frame.
    page.wait_for_function(f"() => ({reds})()[2] === -1")


def test_500_cases_scroll_without_lag(new_page: Any, served_500: ReviewServer) -> None:
    page = new_page(served_500)
    scroll = """() => new Promise(done => {
        const list = document.querySelector('#list'), times = [], counts = [];
        list.scrollTop = 0;
        let last = performance.now();
        const step = now => {
            times.push(now - last);
            last = now;
            counts.push(document.querySelectorAll('.row').length);
            list.scrollTop += 400;
            if (list.scrollTop + list.clientHeight < list.scrollHeight - 1) requestAnimationFrame(step);
            else {
                times.sort((a, b) => a - b);
                done({median: times[times.length >> 1], rows: Math.max(...counts), frames: times.length});
            }
        };
        requestAnimationFrame(step);
    })"""

    def median_frame() -> float:
        frames = page.evaluate(scroll)
        assert frames["frames"] > 80 and frames["rows"] < 40
        return float(frames["median"])

    # A frame every 16 ms is smooth.
    medians = three_tries(median_frame, 60)
    picture(page, "500")
    assert min(medians) < 60, medians
    playwright.expect(page.locator(".row", has_text="case499")).to_be_visible()
