"""The report in a real browser: it renders, the slider re-cuts it, and nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lesstext.report import write_report
from tests.lesstext.report.browser import Page, find_chromium, open_browser
from tests.lesstext.report.report_fixtures import Sample, scored_shard, spread

_HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">'
_N_ZERO, _N_TEXT = 40, 30

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="needs chromium or google-chrome on the PATH; none was found"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    hostile = Sample(key="hostile", ratio=0.021, caption=_HOSTILE + " שלום 😀 " + "long " * 2000)
    failed = Sample(key="bad", status="decode_error", error=_HOSTILE, ratio=None)
    shard = scored_shard(folder, "00000", [*spread(_N_ZERO, _N_TEXT), hostile, failed])
    out = folder / "report.html"
    write_report(folder / "scores", [shard], out, max_text_area=0.02, title="Test <report>")
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    chromium = find_chromium()
    assert chromium is not None
    with open_browser(chromium, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page, report: Path) -> Page:
    browser.console.clear()
    browser.requests.clear()
    browser.open(report)
    return browser


def _keys(page: Page, sheet: str) -> list[str]:
    texts: Any = page.evaluate(
        f"[...document.querySelectorAll('#{sheet} code')].map((e) => e.textContent)"
    )
    return [text.rpartition(" / ")[2] for text in texts]


def _ratios(page: Page, sheet: str) -> list[float]:
    texts: Any = page.evaluate(
        f"[...document.querySelectorAll('#{sheet} .ratio b')].map((e) => e.textContent)"
    )
    return [float(text) for text in texts]


def _readout(page: Page) -> str:
    return str(page.evaluate("document.getElementById('readout').textContent"))


def _move_to(page: Page, threshold: float) -> None:
    page.evaluate(
        f"""(() => {{
            const thresholds = JSON.parse(document.getElementById("data").textContent).thresholds;
            const slider = document.getElementById("slider");
            slider.value = String(thresholds.indexOf({threshold}));
            slider.dispatchEvent(new Event("input"));
        }})()"""
    )


def test_renders_charts_pictures_and_regions(page: Page) -> None:
    assert page.evaluate("document.title") == "Test <report>"
    assert page.evaluate("document.querySelectorAll('#charts rect').length") > 20
    loaded = page.evaluate(
        """Promise.all([...document.images].map((image) => image.decode()))
           .then(() => [...document.images].map((image) => image.naturalWidth))"""
    )
    assert len(loaded) == 24
    assert set(loaded) == {256}
    assert page.evaluate("document.querySelectorAll('#dropped polygon').length") == 12


def test_overlay_lies_exactly_on_its_picture(page: Page) -> None:
    boxes = page.evaluate(
        """[...document.querySelectorAll('#dropped .frame')].map((frame) =>
            [...frame.children].map((child) => {
                const { x, y, width, height } = child.getBoundingClientRect();
                return [x, y, width, height].map(Math.round);
            }))"""
    )
    assert all(image == overlay for image, overlay in boxes)
    _, _, width, height = boxes[0][0]
    assert width / height == pytest.approx(320 / 200, rel=0.02)


def test_opens_at_the_chosen_threshold(page: Page) -> None:
    kept, dropped = _ratios(page, "kept"), _ratios(page, "dropped")
    assert kept == sorted(kept, reverse=True)
    assert dropped == sorted(dropped)
    assert kept[0] <= 0.02 < dropped[0]
    n_kept = _N_ZERO + sum(
        sample.ratio is not None and 0 < sample.ratio <= 0.02 for sample in spread(0, _N_TEXT)
    )
    assert f"{n_kept} kept" in _readout(page)
    assert f"{_N_ZERO + _N_TEXT + 1 - n_kept} dropped" in _readout(page)


def test_slider_changes_examples_and_counts(page: Page) -> None:
    before = _keys(page, "kept"), _keys(page, "dropped"), _readout(page)
    _move_to(page, 0.2)
    after = _keys(page, "kept"), _keys(page, "dropped"), _readout(page)
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert max(_ratios(page, "kept")) <= 0.2 < min(_ratios(page, "dropped"))
    page.evaluate("document.getElementById('reset').click()")
    assert (_keys(page, "kept"), _keys(page, "dropped"), _readout(page)) == before


@pytest.mark.parametrize("threshold", [0.0, 0.003, 0.05, 0.8])
def test_every_threshold_has_its_true_neighbours(page: Page, threshold: float) -> None:
    _move_to(page, threshold)
    ratios = [0.021, *(sample.ratio or 0.0 for sample in spread(_N_ZERO, _N_TEXT))]
    below = sorted((ratio for ratio in ratios if ratio <= threshold), reverse=True)[:12]
    above = sorted(ratio for ratio in ratios if ratio > threshold)[:12]
    assert _ratios(page, "kept") == pytest.approx(below, abs=1e-4)
    assert _ratios(page, "dropped") == pytest.approx(above, abs=1e-4)


def test_both_ends_of_the_slider(page: Page) -> None:
    page.evaluate("document.getElementById('slider').focus()")
    page.press("Home")
    assert f"{_N_ZERO} kept" in _readout(page)
    page.press("End")
    assert "0 dropped (0.0%)" in _readout(page)
    assert _keys(page, "dropped") == []
    assert "no example above" in page.evaluate("document.getElementById('dropped').textContent")


def test_keyboard_moves_the_slider_one_threshold(page: Page) -> None:
    page.evaluate("document.getElementById('slider').focus()")
    page.press("ArrowRight")
    assert "≤ 0.0215:" in _readout(page)
    spoken = page.evaluate("document.getElementById('slider').getAttribute('aria-valuetext')")
    assert spoken.startswith("0.0215, keeps")
    page.press("ArrowLeft")
    assert "≤ 0.02:" in _readout(page)


def test_regions_can_be_hidden(page: Page) -> None:
    shown = "getComputedStyle(document.querySelector('#dropped .frame svg')).display !== 'none'"
    assert page.evaluate(shown) is True
    page.evaluate("document.getElementById('regions').click()")
    assert page.evaluate(shown) is False


def test_hostile_texts_stay_texts(page: Page) -> None:
    assert page.evaluate("window.hacked === undefined")
    captions = page.evaluate("document.getElementById('dropped').textContent")
    assert "</script><script>" in captions
    assert "😀" in captions
    assert "characters)" in captions
    assert page.evaluate("document.getElementById('failures').parentNode.textContent").count(
        "</script>"
    )


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_sticks_out_sideways(page: Page, width: int) -> None:
    page.send(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=800,
        deviceScaleFactor=1,
        mobile=False,
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.send("Emulation.clearDeviceMetricsOverride")


def test_console_is_clean_and_nothing_is_fetched(page: Page, report: Path) -> None:
    for threshold in (0.0, 0.01, 0.5, 1.0):
        _move_to(page, threshold)
    assert page.console == []
    assert [url for url in page.requests if not url.startswith("data:")] == [report.as_uri()]


def test_console_check_can_fail(page: Page) -> None:
    """The two checks above rest on these events, so prove that they arrive."""
    page.evaluate("console.error('boom'); new Image().src = 'http://127.0.0.1:9/x.png'; 1")
    page.evaluate("new Promise((done) => setTimeout(done, 200))")
    assert any("boom" in entry for entry in page.console)
    assert any("Content Security Policy" in entry for entry in page.console)
