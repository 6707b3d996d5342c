"""Reports in a browser: all is seen, reached and heard, with scripts and without; nobody else's names do anything."""

import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tools import needs
from tests.train.report_inputs import HOSTILE, write_inputs
from tierenv.train.html_report.write import write_report

pytestmark = [pytest.mark.expensive, needs("chromium")]

WIDTHS = (1280, 400)

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Returns a report on an input of every kind, and the same with hostile names."""
    paths = {}
    for name, word in (("plain", ""), ("hostile", HOSTILE)):
        folder = tmp_path_factory.mktemp(name)
        paths[name] = folder / "report.html"
        write_report(write_inputs(folder, word), paths[name])
    return paths


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Returns one browser for all tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        program = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        yield program
        program.close()


@pytest.fixture
def opened(browser: Any, reports: dict[str, Path]) -> Iterator[Open]:
    """Returns what opens a report; at the end nothing was said on the console and nothing was asked of anybody."""
    said: list[str] = []
    contexts = []

    def open_report(name: str = "plain", width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: request.url == reports[name].as_uri() or said.append(request.url))
        page.goto(reports[name].as_uri())
        if options.get("java_script_enabled", True):
            page.wait_for_function("[...document.querySelectorAll('.controls')].every((form) => !form.hidden)")
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert said == []


BOXES = """(selector) => [...document.querySelectorAll(selector)]
  .filter((each) => each.checkVisibility())
  .map((each) => [each.textContent.slice(0, 40), each.getBoundingClientRect()])
  .filter(([, box]) => box.width > 0 && box.height > 0)
  .map(([text, box]) => [text, box.left, box.top, box.right, box.bottom])"""
"""Text and place of all that is seen of a selector."""
BLOCKS = "h1, h2, h3, h4, p:not(.chart p, form p), figcaption, .scroll, .chart, dt, dd, .legend li, form"


def overlaps(boxes: list[list[Any]], slack: float = 1.0) -> list[tuple[str, str]]:
    """Texts whose boxes overlap by more than the slack [px]."""
    found = []
    for first, second in itertools.combinations(boxes, 2):
        width = min(first[3], second[3]) - max(first[1], second[1])
        height = min(first[4], second[4]) - max(first[2], second[2])
        if width > slack and height > slack:
            found.append((first[0], second[0]))
    return found


@pytest.mark.parametrize("name", ["plain", "hostile"])
@pytest.mark.parametrize("has_scripts", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overlaps_or_runs_off_the_page(opened: Open, width: int, has_scripts: bool, name: str) -> None:
    page = opened(name, width, java_script_enabled=has_scripts)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    blocks = page.evaluate(BOXES, BLOCKS)
    assert len(blocks) > 60 and overlaps(blocks) == []
    assert all(box[1] >= 0 and box[3] <= width for box in blocks)
    words = page.evaluate(BOXES, "svg text")
    assert len(words) > 100 and overlaps(words) == []
    pictures = page.evaluate(BOXES, "svg.marks, .picture svg")
    assert len(pictures) > 10 and all(box[3] - box[1] > 250 for box in pictures), "large enough to be read"
    labels = page.evaluate(BOXES, ".controls label, .controls button")
    assert overlaps(labels) == [] and bool(labels) == has_scripts


def test_words_in_pictures_stay_within_them(opened: Open) -> None:
    page = opened("hostile", 400, java_script_enabled=False)
    outside = page.evaluate(
        """() => [...document.querySelectorAll("svg text")].filter((text) => {
          const box = text.getBoundingClientRect(), whole = text.closest("svg").getBoundingClientRect();
          return box.width > 0 && (box.left < whole.left - 2 || box.right > whole.right + 2
            || box.top < whole.top - 2 || box.bottom > whole.bottom + 2);
        }).map((text) => text.textContent)"""
    )
    assert outside == []


def test_names_of_others_do_nothing(opened: Open) -> None:
    page = opened("hostile")
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.images.length") == 0
    assert page.locator("td", has_text="onerror=hacked=1").count() > 10
    page.locator("input[name=cursor]").first.press("ArrowRight")
    assert "onerror=hacked=1" in page.locator(".readout").first.text_content()
    assert page.evaluate("window.hacked") is None and page.evaluate("document.images.length") == 0


def test_without_scripts_everything_is_there_but_what_needs_them(opened: Open) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator(".controls:visible, .readout:visible").count() == 0
    assert page.locator(".picture svg:visible").count() == 3
    page.locator("summary").first.click()
    assert page.locator("details table:visible").count() == 1


FOCUSABLE = """[...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")]
  .filter((each) => each.checkVisibility())"""


@pytest.mark.parametrize("has_scripts", [True, False])
def test_the_keyboard_reaches_everything_and_is_seen_to(opened: Open, has_scripts: bool) -> None:
    page = opened(width=400, java_script_enabled=has_scripts)
    number = page.evaluate(f"{FOCUSABLE}.length")
    assert number > 40
    unseen = []
    for index in range(number):
        page.keyboard.press("Tab")
        place, width, name = page.evaluate(
            f"""() => {{
              const here = document.activeElement, style = getComputedStyle(here);
              const width = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
              return [{FOCUSABLE}.indexOf(here), width, here.outerHTML];
            }}"""
        )
        assert place == index, name[:200]
        if width < 2:
            unseen.append(name[:100])
    assert unseen == []


def test_the_skip_link_skips(opened: Open) -> None:
    page = opened()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const luminance = (colour) => channels(colour).slice(0, 3).map((each) => each / 255)
    .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
  };
  const found = {};
  for (const each of document.querySelectorAll("body *")) {
    const hasText = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!hasText || !each.checkVisibility() || each.closest("script, title, desc, defs")) continue;
    const style = getComputedStyle(each);
    const colour = each.closest("svg") ? style.fill : style.color;
    const [light, dark] = [luminance(colour), luminance(behind(each))].sort((a, b) => b - a);
    found[`${each.tagName} ${each.className} ${colour} on ${behind(each)}`] = (light + 0.05) / (dark + 0.05);
  }
  for (const each of document.querySelectorAll(".patterns rect")) {
    const colour = getComputedStyle(each).fill;
    const [light, dark] = [luminance(colour), luminance(behind(document.body))].sort((a, b) => b - a);
    found[`pattern ${colour}`] = (light + 0.05) / (dark + 0.05);
  }
  return found;
}"""
"""The contrast of every text and pattern with what is behind it, as WCAG 2.2 defines it ("relative luminance")."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_in_both_schemes(opened: Open, scheme: str) -> None:
    contrasts = opened(color_scheme=scheme).evaluate(CONTRASTS)
    patterns = {name: contrast for name, contrast in contrasts.items() if name.startswith("pattern")}
    texts = {name: contrast for name, contrast in contrasts.items() if name not in patterns}
    assert len(texts) > 10 and len(patterns) == 10
    assert {name: contrast for name, contrast in texts.items() if contrast < 4.5} == {}
    assert {name: contrast for name, contrast in patterns.items() if contrast < 3} == {}
    assert any(name.startswith("text ") for name in texts), "those of pictures too"


def test_pictures_over_time_are_zoomed_filtered_and_read_off(opened: Open) -> None:
    page = opened()
    ticks = "[...document.querySelectorAll('.picture')[0].querySelectorAll('text')].map((each) => each.textContent)"
    assert {"0", "100"} <= set(page.evaluate(ticks))
    page.fill("input[name=begin]", "40")
    page.fill("input[name=end]", "60")
    page.keyboard.press("Tab")
    page.wait_for_function(f"{ticks}.includes('60') && !{ticks}.includes('100')")
    page.click("button[name=whole]")
    page.wait_for_function(f"{ticks}.includes('100')")

    areas = "document.querySelectorAll('.picture')[1].querySelectorAll('.mark-area path[fill^=url]').length"
    assert page.evaluate(areas) == 2
    page.uncheck("input[name=class][value=c0]")
    page.wait_for_function(f"{areas} === 1")

    page.uncheck("input[name=policy][value='2']")
    assert page.locator(".chart:visible .picture").count() == 2

    page.locator("input[name=cursor]").focus()
    page.keyboard.press("End")
    readout = page.locator(".readout").first
    assert re.match(r"100\.0 s, phase second: hot 3\.00 GiB, .*unlimited", readout.text_content())
    assert page.get_attribute("input[name=cursor]", "aria-valuetext") == "100.0 s"

    picture = page.locator(".picture svg").first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.mouse.move(box["x"] + 120, box["y"] + 60)
    assert re.match(r"2\d\.0 s, phase first", readout.text_content())
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 60)
    page.mouse.up()
    assert 0 < float(page.input_value("input[name=begin]")) < float(page.input_value("input[name=end]")) < 100


def test_printed_it_leaves_out_what_paper_cannot_do(opened: Open) -> None:
    page = opened()
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("nav:visible, .controls:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
