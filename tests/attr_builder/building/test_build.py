"""Building: the same bytes in any order, nothing dropped, nothing half-written."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attr_builder.building import build as build_module
from attr_builder.building.build import Build, build_chunk, run_build
from attr_builder.building.contact_sheet import write_contact_sheet
from attr_builder.building.manifest import PARQUET_NAME, Row, read_manifest
from attr_builder.building.stored import load_painter
from attr_builder.building.verify import verify_set
from attr_builder.building.writers import FORMATS
from attr_builder.drawing.presets import VARIANTS, RenderOptions, make_recipe
from attr_builder.drawing.render import encode_image, load_image
from attr_builder.drawing.transform import AttrTransform
from attr_builder.errors import SetError, UsageError
from attr_builder.labelled_images.classes import imagenet_classes
from attr_builder.labelled_images.sources import open_source
from tests.attr_builder.conftest import MakeBuild, photo, write_image_folder

ALL = ("none", "correct", "nonsense")
WNIDS = imagenet_classes().wnids


def digest_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows_of(build: Build, variant: str | None = None) -> list[Row]:
    return [row for row in read_manifest(build.out) if variant in (None, row.variant)]


def test_bytes_do_not_depend_on_workers_order_or_resume(make_build: MakeBuild) -> None:
    recipe = make_recipe("visible", {"controls": ALL})
    one, two, three = (
        make_build(recipe, out=name, formats=FORMATS, chunk_size=5) for name in ("a", "b", "c")
    )
    run_build(one)
    run_build(two, n_workers=2)
    build_module._claim(three)
    for chunk in (3, 1):  # an interrupted run, in another order
        build_chunk(three, chunk)
    run_build(three)
    assert digest_of(one.out) == digest_of(two.out) == digest_of(three.out)


def test_images_do_not_depend_on_chunks(make_build: MakeBuild) -> None:
    run_build(one := make_build(out="a", chunk_size=3))
    run_build(two := make_build(out="b", chunk_size=100))
    assert digest_of(one.out / "attacked") == digest_of(two.out / "attacked")
    assert rows_of(one) == rows_of(two)


def test_resume_does_only_what_is_missing(make_build: MakeBuild) -> None:
    plan = make_build(chunk_size=6)
    build_module._claim(plan)
    for chunk in range(3):
        build_chunk(plan, chunk)
    victim = next((plan.out / "attacked").rglob("*.jpg"))
    victim.write_bytes(b"")  # what a power cut can leave behind
    said: list[tuple[int, int]] = []
    run_build(plan, on_chunk=lambda done, before: said.append((done, before)))
    assert said == [(0, 12), (6, 12)]
    assert verify_set(plan.out, plan.source, full=True).problems == []
    said.clear()
    run_build(plan, on_chunk=lambda done, before: said.append((done, before)))
    assert said == [(0, 18)]
    assert not (plan.out / ".build").exists()


def test_a_failing_write_leaves_no_half_file(
    make_build: MakeBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_build(formats=FORMATS)
    real = encode_image

    def full_disk(image: Image.Image, options: RenderOptions) -> bytes:
        if any((plan.out / "attacked" / "val").rglob("*.jpg")):
            raise OSError(28, "No space left on device")
        return real(image, options)

    monkeypatch.setattr(build_module, "encode_image", full_disk)
    with pytest.raises(OSError, match="No space left"):
        run_build(plan)
    left = [p.name for p in plan.out.rglob("*") if p.is_file()]
    assert not [name for name in left if name.endswith((".tar", ".parquet", ".partial"))]
    monkeypatch.undo()
    run_build(plan)
    assert verify_set(plan.out, plan.source, full=True).problems == []


def test_manifest_tells_everything_about_an_attack(make_build: MakeBuild, photos: Path) -> None:
    recipe = make_recipe("visible", {"controls": ALL, "seed": 3})
    plan = make_build(recipe)
    run_build(plan)
    rows = rows_of(plan)
    assert len(rows) == 18 * 4
    row = next(r for r in rows if r.variant == "attacked")
    source = (photos / "val" / row.source_path).read_bytes()
    assert row.source_sha256 == hashlib.sha256(source).hexdigest()
    output = (plan.out / str(row.output)).read_bytes()
    assert row.output_sha256 == hashlib.sha256(output).hexdigest()
    assert (row.true_label, row.true_name) == (0, "tench")
    assert row.attack_wnid == WNIDS[row.attack_label]
    assert str(row.text).replace("\n", " ") == row.attack_name
    assert row.seed == 3
    assert row.box is not None and row.box_ratio is not None and row.width is not None
    assert row.box_ratio[0] == pytest.approx(row.box[0] / row.width)
    lines = (plan.out / "manifest.jsonl").read_text().splitlines()
    assert [Row.from_json(line) for line in lines] == rows


def test_controls_differ_from_the_attack_by_the_word_only(make_build: MakeBuild) -> None:
    plan = make_build(make_recipe("visible", {"controls": ALL}))
    run_build(plan)
    by_key: dict[str, dict[str, Row]] = {}
    for row in rows_of(plan):
        by_key.setdefault(row.key, {})[row.variant] = row
    for key, twins in by_key.items():
        assert set(twins) == {"attacked", *ALL}
        assert twins["none"].text is None and twins["none"].box is None
        assert str(twins["correct"].text).replace("\n", " ") == twins["correct"].true_name
        attack, nonsense = twins["attacked"], twins["nonsense"]
        assert len(str(nonsense.text)) == len(str(attack.text)), key
        assert len({t.attack_label for t in twins.values()}) == 1


@pytest.mark.parametrize("preset", ["paper", "visible"])
def test_pixels_outside_the_box_equal_the_none_control(make_build: MakeBuild, preset: str) -> None:
    recipe = make_recipe(preset, {"controls": ("none",)}, {"encoding": "png"})
    plan = make_build(recipe)
    run_build(plan)
    for attacked, none in zip(rows_of(plan, "attacked"), rows_of(plan, "none"), strict=True):
        with_text = np.array(Image.open(plan.out / str(attacked.output)))
        without = np.array(Image.open(plan.out / str(none.output)))
        assert attacked.box is not None
        x0, y0, x1, y1 = (max(0, v) for v in attacked.box)
        assert (with_text[y0:y1, x0:x1] != without[y0:y1, x0:x1]).any()
        with_text[y0:y1, x0:x1] = without[y0:y1, x0:x1] = 0
        assert (with_text == without).all()


def test_paper_keeps_what_it_does_not_repair_and_counts_it(make_build: MakeBuild) -> None:
    plan = make_build("paper")
    statistics = run_build(plan).as_json()["attacked"]
    assert statistics["n_noop_classes"] == 2
    assert statistics["n_noop_images"] == 6
    assert statistics["run_off_image_ratio"] > 0.5  # the photos are narrow
    assert statistics["fully_visible_in_crop_ratio"] < 0.5
    card = (plan.out / "README.md").read_text()
    assert "to the letter" in card and "metrically equal to Arial" in card
    assert json.loads((plan.out / "statistics.json").read_text())["attacked"] == statistics


def test_visible_has_no_flaw(make_build: MakeBuild) -> None:
    statistics = run_build(make_build("visible")).as_json()["attacked"]
    assert statistics["fully_visible_in_crop_ratio"] == 1
    assert statistics["contrast_at_least_4.5_ratio"] == 1
    assert statistics["n_noop_images"] == 0


def test_several_attacks_per_image_are_distinct_and_named(make_build: MakeBuild) -> None:
    changes = {"strategy": "random", "attacks_per_image": 3, "controls": ("none",)}
    plan = make_build(make_recipe("visible", changes))
    run_build(plan)
    attacked = rows_of(plan, "attacked")
    assert len(attacked) == 54 and len(rows_of(plan, "none")) == 18
    for key in plan.source.keys:
        own = [row for row in attacked if row.key == key]
        assert [row.attack_no for row in own] == [0, 1, 2]
        assert len({row.attack_name for row in own}) == 3
        assert len({row.output for row in own}) == 3


def bad_source(folder: Path) -> Path:
    """One good photo and one of each bad kind, in a class of its own."""
    write_image_folder(folder, imagenet_classes(), (0,), 1)
    image = photo(9, 200, 150)

    def write(label: int, name: str, save: Callable[[Path], object]) -> None:
        target = folder / "val" / WNIDS[label]
        target.mkdir(exist_ok=True)
        save(target / name)

    write(1, "unreadable.jpg", lambda p: p.write_bytes(b"this is no image"))
    write(1, "empty.jpg", lambda p: p.write_bytes(b""))
    write(2, "cmyk.jpg", lambda p: image.convert("CMYK").save(p))
    write(2, "gray.png", lambda p: image.convert("L").save(p))
    frames = [image, photo(10, 200, 150)]
    write(3, "moving.gif", lambda p: frames[0].save(p, save_all=True, append_images=frames[1:]))
    write(4, "tiny.png", lambda p: photo(1, 20, 20).save(p))
    write(4, "notes.txt", lambda p: p.write_text("no image"))
    return folder


@pytest.mark.parametrize("preset", ["paper", "visible"])
def test_bad_images_get_rows_with_reasons(
    make_build: MakeBuild, tmp_path: Path, preset: str
) -> None:
    plan = make_build(preset, source=bad_source(tmp_path / "bad"))
    assert plan.source.n_ignored == 1
    statistics = run_build(plan)
    rows = {Path(row.key).name: row for row in rows_of(plan)}
    assert len(rows) == 7
    assert rows["unreadable"].status == rows["empty"].status == "decode_error"
    assert rows["unreadable"].output is None and "image" in str(rows["unreadable"].reason)
    for name in ("cmyk", "gray", "moving", f"{WNIDS[0]}_0"):
        assert rows[name].status == "ok", rows[name].reason
        assert (
            load_image((plan.out / str(rows[name].output)).read_bytes(), exif=False).mode == "RGB"
        )
    tiny = rows["tiny"]
    if preset == "visible":
        assert tiny.status == "text_does_not_fit" and "does not fit" in str(tiny.reason)
    else:
        assert tiny.status == "ok" and tiny.visible_in_image == 0 and tiny.contrast is None
    assert statistics.n_failed == (3 if preset == "visible" else 2)
    assert any("unreadable" in line for line in statistics.failed_keys)


def test_output_inside_source_and_foreign_folders_are_refused(
    make_build: MakeBuild, photos: Path, tmp_path: Path
) -> None:
    plan = make_build()
    for out in (photos / "val" / "set", photos / "val"):
        with pytest.raises(UsageError, match=r"is an input|inside the input folder"):
            run_build(replace(plan, out=out))
    with pytest.raises(UsageError, match="lies inside the output"):
        run_build(replace(plan, out=photos))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="is not empty"):
        run_build(replace(plan, out=tmp_path / "mine"))
    assert sorted(p.name for p in photos.iterdir()) == ["val"]


def test_another_set_is_not_overwritten(make_build: MakeBuild) -> None:
    run_build(make_build("visible"))
    with pytest.raises(UsageError, match="differs in recipe"):
        run_build(make_build("paper"))
    with pytest.raises(UsageError, match="differs in formats"):
        run_build(make_build("visible", formats=("webdataset",)))


def test_verify_finds_changed_and_missing_files(make_build: MakeBuild, photos: Path) -> None:
    plan = make_build()
    run_build(plan)
    first, second = rows_of(plan)[:2]
    (plan.out / str(first.output)).write_bytes(b"changed")
    (plan.out / str(second.output)).unlink()
    problems = verify_set(plan.out, None, full=True).problems
    assert len(problems) == 2
    assert "was changed" in problems[0] and "cannot be read" in problems[1]
    verdict = verify_set(plan.out, plan.source, n_sample=5)
    assert verdict.n_stored == verdict.n_redrawn == 5


def test_verify_tells_a_changed_source(make_build: MakeBuild, photos: Path, tmp_path: Path) -> None:
    plan = make_build()
    run_build(plan)
    other = shutil.copytree(photos, tmp_path / "other")
    row = rows_of(plan)[0]
    photo(5).save(other / "val" / row.source_path)
    problems = verify_set(plan.out, open_source(other), full=True).problems
    assert problems == [f"{row.key}: the source image is another one than at the build"]


@pytest.mark.parametrize("form", FORMATS)
def test_verify_reads_every_format(make_build: MakeBuild, form: str) -> None:
    plan = make_build(formats=(form,))
    run_build(plan)
    verdict = verify_set(plan.out, plan.source, full=True)
    assert (verdict.n_stored, verdict.problems) == (18, [])


def test_sets_without_manifest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SetError, match=r"recipe\.json"):
        load_painter(tmp_path)
    with pytest.raises(SetError, match="was the build finished"):
        list(read_manifest(tmp_path))


@pytest.mark.parametrize(
    ("change", "told"),
    {
        "not JSON": (lambda text: text[:40], "recipe.json is damaged: "),
        "no recipe": (lambda text: "{}", "the field recipe is missing"),
        "another type": (lambda text: text.replace('"jpeg"', "7"), "recipe.render.encoding: "),
        "out of range": (lambda text: text.replace('"quality": 75', '"quality": 0'), "1 to 100"),
        "nested": (lambda text: "[" * 100_000, "recipe.json is damaged: "),
    }.values(),
)
def test_a_damaged_recipe_is_named_with_its_field(
    make_build: MakeBuild, change: Callable[[str], str], told: str
) -> None:
    plan = make_build()
    run_build(plan)
    path = plan.out / "recipe.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(SetError) as caught:
        load_painter(plan.out)
    assert told in str(caught.value) and str(path) in str(caught.value)


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("true_label", pa.scalar("7"), "the column true_label holds string, not int32"),
        ("key", pa.scalar(None, pa.string()), "has no key"),
        ("attack_label", pa.scalar(-1, pa.int32()), "has the attack_label -1"),
        ("variant", pa.scalar("../esc"), "has the variant '../esc'"),
        ("output", pa.scalar("../../../etc/passwd"), "outside of the set"),
        ("output", pa.scalar("/etc/passwd"), "outside of the set"),
        ("output_name", pa.scalar(None, pa.string()), "has no output"),
    ],
)
def test_rows_that_no_build_writes_are_named(
    make_build: MakeBuild, name: str, value: pa.Scalar, told: str
) -> None:
    plan = make_build()
    run_build(plan)
    path = plan.out / "manifest.parquet"
    table = pq.read_table(path)
    pq.write_table(
        with_column(table, name, pa.array([value.as_py()] * len(table), value.type)), path
    )
    with pytest.raises(SetError) as caught:
        list(read_manifest(plan.out))
    assert told in str(caught.value) and str(path) in str(caught.value)


def test_a_manifest_damaged_within_is_named(make_build: MakeBuild) -> None:
    plan = make_build()
    run_build(plan)
    path = plan.out / "manifest.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(600) + data[604:])
    with pytest.raises(SetError, match=r"manifest\.parquet: no readable manifest"):
        list(read_manifest(plan.out))


def test_transform_gives_the_stored_pixels(make_build: MakeBuild, photos: Path) -> None:
    recipe = make_recipe("visible", {"controls": ("nonsense",)})
    plan = make_build(recipe)
    run_build(plan)
    for variant in ("attacked", "nonsense"):
        transform = AttrTransform(recipe, variant=variant)
        for row in rows_of(plan, variant)[::4]:
            with Image.open(photos / "val" / row.source_path) as image:
                drawn = transform(image, row.true_label, row.key)
            with Image.open(plan.out / str(row.output)) as stored:
                assert drawn.tobytes() == stored.convert("RGB").tobytes()


def test_transform_refuses_what_it_cannot_do() -> None:
    with pytest.raises(UsageError, match="no preset"):
        AttrTransform("invisible")
    with pytest.raises(UsageError, match="no variant"):
        AttrTransform("visible", variant="none")
    with pytest.raises(UsageError, match="needs an attack_map"):
        AttrTransform(make_recipe("visible", {"strategy": "similar"}))


def test_contact_sheet_shows_failures_first(make_build: MakeBuild, tmp_path: Path) -> None:
    plan = make_build("visible", source=bad_source(tmp_path / "bad"))
    run_build(plan)
    n = write_contact_sheet(plan.out, tmp_path / "sheet.html", n_images=8)
    page = (tmp_path / "sheet.html").read_text()
    assert n == page.count("<article")
    assert 4 < n <= 8
    assert page.index("decode_error") < page.index("<img")
    assert 'src="http' not in page and 'id="contrast-min"' in page


def test_contact_sheet_lines_up_all_twins_of_a_photo(make_build: MakeBuild, tmp_path: Path) -> None:
    plan = make_build(make_recipe("visible", {"controls": ALL}))
    run_build(plan)
    rows = rows_of(plan)
    n_variants = len({row.variant for row in rows})
    write_contact_sheet(plan.out, tmp_path / "sheet.html", n_images=2 * n_variants + 1)
    photos = (tmp_path / "sheet.html").read_text().split('<section class="twins">')[1:]
    assert len(photos) == 2
    for row in photos:
        shown = re.findall(r"<h3>(\w+)", row)
        assert shown == [variant for variant in VARIANTS if variant in {r.variant for r in rows}]
        places = [int(place) for place in re.findall(r"grid-column: (\d)", row)]
        assert places == list(range(1, n_variants + 1))


@pytest.mark.parametrize("text", ["", "{", "[]", "[3]", "3", "null"])
def test_a_damaged_recipe_is_named(make_build: MakeBuild, text: str) -> None:
    plan = make_build()
    build_module._claim(plan)
    (plan.out / "recipe.json").write_text(text)
    with pytest.raises((SetError, UsageError), match=r"recipe\.json is damaged|differs in"):
        run_build(plan)


@pytest.mark.parametrize("line", ["[]", "{", "3", '{"key": "a"}', "\0"])
def test_a_damaged_part_is_made_again(make_build: MakeBuild, line: str) -> None:
    plan = make_build()
    build_module._claim(plan)
    build_chunk(plan, 0)
    plan.part(0).write_text(line + "\n")
    assert run_build(plan).n_failed == 0 and len(rows_of(plan)) == 18


def test_names_of_several_attacks_are_unique_and_sorted_by_class(make_build: MakeBuild) -> None:
    plan = make_build(make_recipe("visible", {"strategy": "random", "attacks_per_image": 2}))
    names = [plan.output_name(0, no) for no in (0, 1)]
    assert names == [f"{WNIDS[0]}/{WNIDS[0]}_0__a0", f"{WNIDS[0]}/{WNIDS[0]}_0__a1"]


def test_a_set_of_an_older_version_is_refused_with_what_to_do(make_build: MakeBuild) -> None:
    plan = make_build()
    run_build(plan)
    path = plan.out / PARQUET_NAME
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"schema_version": "0"}), path)
    with pytest.raises(SetError, match=r"parquet has schema 0, .* build the set again"):
        next(read_manifest(plan.out))
