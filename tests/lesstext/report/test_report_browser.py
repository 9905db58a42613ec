"""The report in a real browser, by real clicks and keys: it shows what it should, and no more."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Page, find_chromium, open_browser

from lesstext.report import write_report
from lesstext.tables.folder import TableSource
from tests.lesstext.report.report_fixtures import Sample, scored_shard, spread, words_table

_HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">'
_N_ZERO, _N_TEXT = 40, 60
_N_OK = _N_ZERO + _N_TEXT + 1
_JUST_ABOVE = 0.0200001

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="needs chromium or google-chrome on the PATH; none was found"
)


BOTH = pytest.mark.parametrize("report", ["embedded", "beside"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with its pictures inside; for tests of BOTH, also one with its pictures beside it."""
    folder = tmp_path_factory.mktemp("report")
    long = _HOSTILE + " שלום 😀 " + "long " * 2000
    hostile = Sample(key="hostile'\"<b>", ratio=_JUST_ABOVE, caption=long)
    failed = Sample(key="bad", status="decode_error", error=_HOSTILE, ratio=None)
    samples = [*spread(_N_ZERO, _N_TEXT), hostile, failed]
    shard = scored_shard(folder, "00000", samples, problems=[_HOSTILE])
    words = {"zero0003": [_HOSTILE, "STOP"], "text0001": ["bakery"], "hostile'\"<b>": ["stop"]}
    words_table(folder, shard, samples, words)
    out = folder / "a page #1.html"
    with pytest.MonkeyPatch.context() as patch:
        if getattr(request, "param", None) == "beside":
            patch.setattr("lesstext.report.sheets.MAX_EMBEDDED", 20)
        tables = [TableSource(folder / "words"), TableSource(folder / "scores")]
        write_report(tables, [shard], out, max_text_area=0.02, title="Test <report>")
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    chromium = find_chromium()
    assert chromium is not None
    with open_browser(chromium, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page, report: Path) -> Iterator[Page]:
    browser.console.clear()
    browser.requests.clear()
    browser.open(report)
    browser.evaluate("localStorage.clear(); 1")
    _look_at_pictures(browser, report)
    yield browser
    assert browser.console == [], "the console is clean after whatever was done"


def _look_at_pictures(page: Page, report: Path, width: int = 1200) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.send("Emulation.setDeviceMetricsOverride", **size)
    page.open(report)
    page.evaluate("byId('controls').scrollIntoView(); 1")
    page.settle()
    assert page.evaluate("rows.size") > 1


def _texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.evaluate(
        f"[...document.querySelectorAll('{selector}')].map((e) => e.textContent)"
    )
    return found


def _keys(page: Page) -> list[str]:
    """The keys of the cards that are in the document, as they are read."""
    page.settle()
    return [text.rpartition(" / ")[2] for text in _texts(page, "#grid .name")]


def _ratios(page: Page) -> list[float]:
    return [float(text) for text in _texts(page, "#grid .ratio b")]


def _text(page: Page, id_: str) -> str:
    return str(page.evaluate(f"document.getElementById('{id_}').textContent"))


def _move_to(page: Page, threshold: float) -> None:
    page.evaluate(
        f"""(() => {{
            slider.value = String(thresholds.indexOf({threshold}));
            slider.dispatchEvent(new Event("input"));
        }})()"""
    )


def _choose(page: Page, id_: str, value: str) -> None:
    page.evaluate(
        f"""(() => {{
            const field = document.getElementById("{id_}");
            field.value = {value!r};
            field.dispatchEvent(new Event("input"));
        }})()"""
    )


def _colours(page: Page) -> list[Any]:
    """For each card: is what its picture is cut from a loaded sheet of the right width?"""
    found: list[Any] = page.evaluate(
        """Promise.all([...document.querySelectorAll('#grid .frame')].map((frame) => {
            const image = new Image();
            image.src = frame.style.backgroundImage.slice(5, -2);
            return image.decode().then(() => image.naturalWidth);
        }))"""
    )
    return found


@BOTH
def test_renders_charts_and_pictures(page: Page) -> None:
    assert page.evaluate("document.title") == "Test <report>"
    assert page.evaluate("document.querySelectorAll('#charts rect').length") > 20
    widths = _colours(page)
    assert len(widths) > 10
    assert set(widths) == {4 * 320}


@BOTH
def test_a_tile_shows_its_own_picture_with_its_regions_on_it(page: Page) -> None:
    """The picture on the screen has the colour that was drawn, and its overlay its shape."""
    page.click("#groups button[data-group=most]")
    page.settle()
    key, box, over = page.evaluate(
        """(() => {
            const card = document.querySelector('#grid .card');
            const rect = (e) => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; };
            const frame = card.querySelector('.frame');
            return [card.querySelector('.name').textContent, rect(frame), rect(frame.firstChild)];
        })()"""  # noqa: E501
    )
    assert box == pytest.approx(over, abs=0.5)
    assert box[2] / box[3] == pytest.approx(320 / 200, rel=0.02)
    number = _N_ZERO + int(key.rpartition("text")[2])
    expected = (number * 7 % 256, number * 31 % 256, 90)
    assert _pixel(page, box[0] + box[2] * 0.6, box[1] + box[3] * 0.6) == pytest.approx(
        expected, abs=8
    )


def _pixel(page: Page, x: float, y: float) -> tuple[int, ...]:
    import base64
    import io

    from PIL import Image

    deadline = time.monotonic() + 10
    while True:
        data = page.send("Page.captureScreenshot", format="png")["data"]
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            colour = image.convert("RGB").getpixel((int(x), int(y)))
        assert isinstance(colour, tuple)
        if colour[2] == pytest.approx(90, abs=8) or time.monotonic() > deadline:
            return tuple(int(value) for value in colour)


def test_opens_at_the_chosen_threshold_with_what_was_just_decided(page: Page) -> None:
    true = [sample.ratio or 0.0 for sample in spread(_N_ZERO, _N_TEXT)] + [_JUST_ABOVE]
    n_kept = sum(ratio <= 0.02 for ratio in true)
    assert f"{n_kept} kept" in _text(page, "readout")
    assert f"{_N_OK - n_kept} dropped" in _text(page, "readout")
    nearest = sorted(abs(ratio - 0.02) for ratio in true)
    shown = [abs(ratio - 0.02) for ratio in _ratios(page)]
    assert shown == pytest.approx(nearest[: len(shown)], abs=1e-4)


def test_a_ratio_just_above_the_threshold_does_not_look_like_it(page: Page) -> None:
    first = _texts(page, "#grid .card:first-child .ratio")[0]
    assert first == "0.0200001dropped"


@pytest.mark.parametrize("threshold", [0.0, 0.003, 0.05, 0.8])
def test_every_threshold_has_its_true_neighbours(page: Page, threshold: float) -> None:
    _move_to(page, threshold)
    true = [_JUST_ABOVE, *(sample.ratio or 0.0 for sample in spread(_N_ZERO, _N_TEXT))]
    shown = _ratios(page)
    sides = _texts(page, "#grid .side")
    assert [ratio <= threshold for ratio in shown] == [side == "kept" for side in sides]
    nearest = sorted(abs(ratio - threshold) for ratio in true)[: len(shown)]
    assert [abs(ratio - threshold) for ratio in shown] == pytest.approx(nearest, abs=1e-4)


def test_slider_by_keys_from_end_to_end(page: Page) -> None:
    page.evaluate("slider.focus()")
    page.press("Home")
    assert f"{_N_ZERO} kept" in _text(page, "readout")
    page.press("End")
    assert "0 dropped (0.0%)" in _text(page, "readout")
    page.click("#reset")
    page.evaluate("slider.focus()")
    page.press("ArrowRight")
    assert "≤ 0.0215:" in _text(page, "readout")
    assert page.evaluate("slider.getAttribute('aria-valuetext')").startswith("0.0215, keeps")


def test_only_rows_in_sight_are_in_the_document(page: Page) -> None:
    total = page.evaluate("visible.length")
    assert total == _N_OK + 1
    assert len(_keys(page)) < total / 2
    seen = set(_keys(page))
    for _ in range(60):
        page.wheel(400)
        page.settle()
        seen |= set(_keys(page))
        if len(seen) == total:
            break
    assert len(seen) == total


def test_failures_come_last_and_say_why(page: Page) -> None:
    assert page.evaluate("samples.key[visible.at(-1)]") == "bad"
    _choose(page, "status", "failed")
    assert _keys(page) == ["bad"]
    assert "no picture: decode_error" in _texts(page, "#grid .absent")[0]
    assert _texts(page, "#grid .ratio") == ["decode_errorfailed"]


@pytest.mark.parametrize("status", ["kept", "dropped"])
def test_filters_by_status_and_recuts_it(page: Page, status: str) -> None:
    _choose(page, "status", status)
    assert set(_texts(page, "#grid .side")) == {status}
    before = _text(page, "shown")
    _move_to(page, 0.2)
    assert set(_texts(page, "#grid .side")) == {status}
    assert _text(page, "shown") != before


def test_orders(page: Page) -> None:
    page.click("#groups button[data-group=most]")
    page.settle()
    assert _ratios(page)[0] == pytest.approx(0.9)
    assert _ratios(page) == sorted(_ratios(page), reverse=True)
    assert page.evaluate("document.querySelector('#groups [aria-pressed=true]').textContent") == (
        "Most text"
    )
    _choose(page, "order", "largest")
    largest = page.evaluate("visible.slice(0, 20).map((index) => samples.largest[index])")
    assert largest == sorted(largest, reverse=True)
    assert largest[0] > largest[-1]


def test_finds_captions_keys_words_and_shards(page: Page) -> None:
    page.write("#text", "שלום LONG")
    assert _keys(page) == ["hostile'\"<b>"]
    page.write("#text", "text0007")
    assert _keys(page) == ["text0007"]
    page.write("#text", "")
    page.write("#words", "stop")
    assert sorted(_keys(page)) == ["hostile'\"<b>", "zero0003"]
    page.write("#words", "")
    page.write("#shard", "no such")
    assert _keys(page) == []
    assert page.evaluate("document.getElementById('nothing').checkVisibility()") is True


def test_shows_what_another_annotator_saw_at_exactly_0(page: Page) -> None:
    title = _texts(page, "#groups button:nth-child(3)")[0]
    assert title == "Exactly 0, but words saw text: 1"
    page.click("#groups button:nth-child(3)")
    assert _keys(page) == ["zero0003"]
    assert "STOP" in _texts(page, "#grid .panels")[0]
    page.click("#groups button:nth-child(3)")
    assert len(_keys(page)) > 5


def test_enlarges_by_click_and_goes_on_by_keys(page: Page) -> None:
    first, second = _keys(page)[:2]
    page.click("#grid .card .picture")
    assert page.evaluate("detail.open") is True
    facts = _text(page, "facts")
    assert first in facts
    assert "characters)" in facts
    assert page.evaluate("document.querySelector('#stage .frame').clientWidth") > 300
    page.press("ArrowRight")
    assert second in _text(page, "facts")
    page.click("#detail-back")
    assert first in _text(page, "facts")
    page.press("Escape")
    assert page.evaluate("detail.open") is False
    assert page.evaluate("document.activeElement.id") == "grid"


def test_regions_are_hidden_and_shown_again(page: Page) -> None:
    page.click("#grid .card .picture")
    shown = "getComputedStyle(document.querySelector('#stage svg')).display !== 'none'"
    assert page.evaluate(shown) is True
    page.click("#detail-regions")
    assert page.evaluate(shown) is False
    page.press("g")
    assert page.evaluate(shown) is True


def test_moves_and_marks_by_keys(page: Page) -> None:
    keys = _keys(page)
    page.evaluate("grid.focus()")
    page.press("r")
    page.press("ArrowRight")
    page.press("w")
    page.press("j")
    page.press("r")
    page.press("ArrowDown")
    columns = page.evaluate("shape.columns")
    current = page.evaluate("document.querySelector('.current .name').textContent")
    assert current.endswith(keys[2 + columns])
    active = page.evaluate("document.getElementById(grid.getAttribute('aria-activedescendant'))")
    assert active is not None
    page.settle()
    assert page.evaluate("markRows()") == [
        ["00000", keys[0], "", "right"],
        ["00000", keys[1], "", "wrong"],
        ["00000", keys[2], "", "right"],
    ]
    assert "all: 2 of 3 right, 67% (95%: 21 to 94%)" in _text(page, "precision")


def test_keys_move_the_threshold_search_and_explain_themselves(page: Page) -> None:
    page.press("]")
    assert "≤ 0.0215:" in _text(page, "readout")
    page.press("0")
    assert "≤ 0.02:" in _text(page, "readout")
    page.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    page.send("Input.insertText", text="r")
    assert page.evaluate("marks.size") == 0
    page.evaluate("document.activeElement.blur()")
    page.press("?")
    assert page.evaluate("byId('keys').open") is True
    page.click("#single-keys")
    page.press("Escape")
    page.press("r")
    assert page.evaluate("marks.size") == 0


def test_marks_are_kept_and_downloaded(page: Page, report: Path, tmp_path: Path) -> None:
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    keys = _keys(page)
    assert page.evaluate("byId('download').disabled") is True
    page.click("#grid .card button.wrong")
    _look_at_pictures(page, report)
    assert _texts(page, "#grid .card .wrong[aria-pressed=true]") == ["✗"]
    page.click("#download")
    deadline = time.monotonic() + 20
    while not (tmp_path / "marks.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with (tmp_path / "marks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["shard", "key", "entity_id", "mark"], ["00000", keys[0], "", "wrong"]]
    assert rows[1][1] == "hostile'\"<b>"
    page.click("#grid .card button.wrong")
    assert page.evaluate("byId('download').disabled") is True


@BOTH
def test_hostile_texts_stay_texts(page: Page) -> None:
    page.click("#grid .card .picture")
    page.press("Escape")
    _choose(page, "status", "failed")
    page.click("#grid .card")
    assert "</script><script>" in _text(page, "facts")
    page.press("Escape")
    _choose(page, "status", "")
    page.click("#groups button:nth-child(3)")
    page.click("#grid .card .picture")
    assert "</script><script>" in _text(page, "facts")
    assert page.evaluate("window.hacked === undefined")
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.evaluate("document.querySelectorAll('script').length") == 2


@pytest.mark.parametrize("width", [380, 800, 1400])
def test_nothing_sticks_out_sideways(page: Page, report: Path, width: int) -> None:
    _look_at_pictures(page, report, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#grid .card .picture")
    assert page.evaluate("detail.scrollWidth <= detail.clientWidth") is True
    page.press("Escape")
    if width == 380:
        assert page.evaluate("shape.columns") == 2
        page.click("#more")
        page.write("#text", "text0007")
        assert _keys(page) == ["text0007"]


def test_every_control_has_a_name(page: Page) -> None:
    page.send("Accessibility.enable")
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "checkbox", "combobox", "searchbox", "slider", "grid", "image", "dialog"}
    controls = [node for node in nodes if node.get("role", {}).get("value") in roles]
    assert len(controls) > 20
    nameless = [node for node in controls if not node.get("name", {}).get("value")]
    assert nameless == []
    page.send("Accessibility.disable")


@BOTH
def test_nothing_is_fetched_but_the_pictures_beside_the_page(page: Page, report: Path) -> None:
    for threshold in (0.0, 0.01, 0.5, 1.0):
        _move_to(page, threshold)
        page.settle()
    beside = report.with_name("a page #1_files").as_uri()
    others = [
        url
        for url in page.requests
        if url != report.as_uri() and not url.startswith(("data:", "blob:", f"{beside}/"))
    ]
    assert others == []


def test_console_check_can_fail(browser: Page, report: Path) -> None:
    """What the fixture checks rests on these events, so prove that they arrive."""
    browser.open(report)
    browser.evaluate("console.error('boom'); new Image().src = 'http://127.0.0.1:9/x.png'; 1")
    browser.evaluate(
        """(() => {
            try { document.body.innerHTML = '<b>x</b>'; } catch { window.refused = true; }
            const script = document.createElement("script");
            script.text = "window.hacked = 1";
            document.body.append(script);
        })()""",
        may_fail=True,
    )
    browser.evaluate("new Promise((done) => setTimeout(done, 200))")
    assert browser.evaluate("window.refused") is True
    assert browser.evaluate("window.hacked === undefined") is True
    assert any("boom" in entry for entry in browser.console)
    assert any("Content Security Policy" in entry for entry in browser.console)
