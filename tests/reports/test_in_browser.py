"""The page in a real browser: nothing is asked of a network, it fits a phone, tables sort, curves answer. Skipped where there is no Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fabricated import fabricated_study, sixty, three

from transformer_zoo.reports.report import study_files

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module", params=["three", "sixty"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    study = fabricated_study(folder, three(), seeds=3, failed=2) if request.param == "three" else fabricated_study(folder, sixty(), failed=2)
    return study_files(study, ", ".join(sixty()))


class Opened:
    """A page, and what it said and asked for."""

    def __init__(self, browser: Any, report: Path, width: int, script: bool = True) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=script)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(report.as_uri())

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_quiet_alone_and_no_wider_than_the_screen(browser: Any, report: Path, width: int) -> None:
    with Opened(browser, report, width) as opened:
        opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.said == []
        assert opened.asked == [report.as_uri()]


def test_tables_sort_by_keyboard_both_ways(browser: Any, report: Path) -> None:
    with Opened(browser, report, 1280) as opened:
        head = opened.page.locator("#summary th", has_text="validation/loss").first
        column = head.evaluate("cell => cell.cellIndex")
        assert head.get_attribute("aria-sort") == "none"

        def values() -> list[float]:
            cells = opened.page.locator(f"#summary tbody td:nth-child({column + 1})").all_inner_texts()
            assert [cell[0].isdigit() for cell in cells] == sorted((cell[0].isdigit() for cell in cells), reverse=True), "what is not known is last"
            return [float(cell.split(" ")[0]) for cell in cells if cell[0].isdigit()]

        before = values()
        head.locator("button").focus()
        opened.page.keyboard.press("Enter")
        assert (values(), head.get_attribute("aria-sort")) == (sorted(before), "ascending")
        opened.page.keyboard.press("Enter")
        assert (values(), head.get_attribute("aria-sort")) == (sorted(before, reverse=True), "descending")


def test_sizes_sort_by_their_units(browser: Any, report: Path) -> None:
    with Opened(browser, report, 1280) as opened:
        assert opened.page.evaluate("['1.2M', '900k', '3', '2 of 3', '−0.5', '1e-3'].map(amount)") == [1.2e6, 9e5, 3, 2, -0.5, 1e-3]


def test_pointing_at_a_curve_shows_values(browser: Any, report: Path) -> None:
    with Opened(browser, report, 1280) as opened:
        plot, tip = opened.page.locator("figure.live .plot svg >> nth=0"), opened.page.locator("figure.live .tip").first
        assert tip.is_hidden()
        plot.hover(position={"x": 200, "y": 100})
        assert tip.is_visible()
        lines = tip.locator("div").all_inner_texts()
        assert all(any(label in line for label in [*three(), *sixty(), "more"]) for line in lines)
        assert 3 <= len(lines) <= 11
        opened.page.mouse.move(5, 5)
        assert tip.is_hidden()
        plot.focus()
        opened.page.keyboard.press("ArrowRight")
        assert tip.is_visible()


def test_the_legend_switches_curves_off_and_on(browser: Any, report: Path) -> None:
    with Opened(browser, report, 1280) as opened:
        first = opened.page.locator("figure.live").first.locator(".inner path.line")
        before = first.count()
        button = opened.page.locator("#curves .legend button").first
        button.click()
        assert (first.count(), button.get_attribute("aria-pressed")) == (before - 1, "false")
        button.click()
        assert first.count() == before
        opened.page.get_by_role("button", name="none", exact=True).click()
        assert first.count() == 0
        opened.page.get_by_role("button", name="all", exact=True).click()
        assert first.count() == before


@pytest.fixture(scope="module", params=["few", "many"])
def seeded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of groups with three seeds each; one run has not finished."""
    groups = three() if request.param == "few" else dict(list(sixty().items())[:20])
    return study_files(fabricated_study(tmp_path_factory.mktemp(request.param), groups, seeds=3, failed=1), "Seeds")


def test_a_group_unfolds_to_its_runs_by_keyboard(browser: Any, seeded: Path) -> None:
    with Opened(browser, seeded, 1280) as opened:
        lines = opened.page.locator("figure.live").first.locator(".inner path.line")
        folded = lines.count()
        entry = opened.page.locator("#curves .legend > li").first
        unfold = entry.locator("button.unfold")
        assert unfold.text_content().startswith("3 runs of model")
        assert unfold.get_attribute("aria-expanded") == "false"
        assert entry.locator("ul").is_hidden()
        unfold.focus()
        opened.page.keyboard.press("Enter")
        assert (lines.count(), unfold.get_attribute("aria-expanded")) == (folded + 3, "true")
        assert entry.locator("li").all_inner_texts() == ["mean", "seed 0", "seed 1", "seed 2"]
        opened.page.keyboard.press("Tab")
        opened.page.keyboard.press("Tab")
        opened.page.keyboard.press("Space")
        first = entry.locator("li button").nth(1)
        assert (first.get_attribute("aria-pressed"), lines.count()) == ("false", folded + 2)
        runs = opened.page.locator("figure.live").first.locator(".inner path.single[data-group='0']")
        assert runs.evaluate_all("paths => paths.map(path => path.dataset.run)") == ["1", "2"]
        entry.locator("li button").first.click()
        assert lines.count() == folded + 1, "the mean can go, and the runs stay"
        unfold.click()
        assert lines.count() == folded, "folded, a group is its mean again"
        assert opened.said == []


def test_a_hidden_group_hides_its_runs_and_a_switch_shows_those_of_all(browser: Any, seeded: Path) -> None:
    with Opened(browser, seeded, 1280) as opened:
        lines = opened.page.locator("figure.live").first.locator(".inner path.line")
        groups = lines.count()
        switch = opened.page.get_by_role("button", name="single runs")
        assert switch.get_attribute("aria-pressed") == "false"
        switch.click()
        assert (switch.get_attribute("aria-pressed"), lines.count()) == ("true", 4 * groups)
        entry = opened.page.locator("#curves .legend > li").first
        entry.locator("button").first.click()
        assert lines.count() == 4 * (groups - 1)
        assert entry.locator("li button").first.is_disabled()
        opened.page.get_by_role("button", name="none", exact=True).click()
        assert lines.count() == 0
        opened.page.get_by_role("button", name="all", exact=True).click()
        assert lines.count() == 4 * groups
        switch.click()
        assert lines.count() == groups


def test_a_run_that_did_not_finish_is_dashed_and_named(browser: Any, seeded: Path) -> None:
    with Opened(browser, seeded, 1280) as opened:
        entry = opened.page.locator("#curves .legend > li").last
        entry.locator("button.unfold").click()
        assert entry.locator("li").last.inner_text() == "seed 2, failed"
        assert opened.page.locator("figure.live").first.locator(".inner path.cut").count() == 1
        opened.page.locator("figure.live .plot svg >> nth=0").hover(position={"x": 100, "y": 100})
        told = " ".join(opened.page.locator("figure.live .tip").first.locator("div").all_inner_texts())
        assert "mean · " in told or "seed " in told


@pytest.mark.parametrize("width", [1280, 390])
def test_an_unfolded_legend_fits_the_screen(browser: Any, seeded: Path, width: int) -> None:
    with Opened(browser, seeded, width) as opened:
        opened.page.get_by_role("button", name="single runs").click()
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        legend = opened.page.locator("#curves .legend")
        assert legend.evaluate("one => one.scrollWidth <= one.clientWidth")
        assert legend.bounding_box()["height"] <= 320
        assert opened.said == []


def test_dragging_zooms_and_reset_shows_all(browser: Any, report: Path) -> None:
    with Opened(browser, report, 1280) as opened:
        figure = opened.page.locator("figure.live").first

        def ticks() -> list[str]:
            return figure.locator(".plot svg > text").all_inner_texts()

        whole = ticks()
        figure.locator(".plot > svg").scroll_into_view_if_needed()
        box = figure.locator(".plot > svg").bounding_box()
        opened.page.mouse.move(box["x"] + 150, box["y"] + 60)
        opened.page.mouse.down()
        opened.page.mouse.move(box["x"] + 250, box["y"] + 60, steps=4)
        opened.page.mouse.up()
        assert ticks() != whole
        figure.get_by_role("button", name="show all").click()
        assert ticks() == whole
        figure.get_by_role("button", name="zoom in").click()
        assert ticks() != whole
        figure.get_by_role("button", name="zoom out").click()
        assert ticks() == whole


def test_axes_can_be_chosen_and_be_logarithmic(browser: Any, report: Path) -> None:
    with Opened(browser, report, 1280) as opened:
        figure = opened.page.locator("figure.live").first
        for axis in ("tokens", "FLOPs", "seconds"):
            opened.page.get_by_label(axis, exact=True).check()
            assert figure.locator(".plot svg > text").last.text_content() == axis
        before = figure.locator("path.line").first.get_attribute("d")
        button = figure.get_by_role("button", name="logarithmic horizontal axis")
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        assert figure.locator("path.line").first.get_attribute("d") != before
        assert opened.said == []


def test_commands_have_a_button_to_copy_them(browser: Any, report: Path) -> None:
    with Opened(browser, report, 1280) as opened:
        opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
        block = opened.page.locator("#commands .command").first
        block.get_by_role("button").click()
        opened.page.wait_for_function("document.querySelector('#commands .command button').textContent !== 'copy'")
        assert block.get_by_role("button").inner_text() == "copied"
        assert opened.page.evaluate("navigator.clipboard.readText()").startswith("transformer-zoo compare")


def test_without_a_script_tables_and_drawings_are_there(browser: Any, report: Path) -> None:
    with Opened(browser, report, 390, script=False) as opened:
        assert opened.page.locator("#summary tbody tr").count() >= 3
        assert opened.page.locator("#curves .by-steps svg").first.is_visible()
        assert opened.page.locator("#curves .by-flops svg").first.is_hidden()
        opened.page.get_by_label("FLOPs", exact=True).check()
        assert opened.page.locator("#curves .by-flops svg").first.is_visible()
        assert opened.page.locator("#curves .by-steps svg").first.is_hidden()
