"""Published attack sets, drawn in each layout in which they are downloaded, and damaged ones."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attr_builder.errors import RowError, SourceError
from attr_builder.labelled_images import attack_sets
from attr_builder.labelled_images.attack_sets import NO_WORD, AttackPhotos, open_attack_set
from attr_builder.labelled_images.classes import ClassList
from tests.attr_builder.conftest import photo

PAIRS = {"img_0001": ("ball", "car"), "img_0002": ("fire extinguisher", "Ball")}
VARIANTS = ("NoSCAM", "SCAM", "SynthSCAM")


def picture(seed: int, form: str = "webp") -> bytes:
    buffer = io.BytesIO()
    photo(seed, 24, 18).save(buffer, format=form)
    return buffer.getvalue()


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def scam_rows() -> list[dict[str, object]]:
    """The rows of Hugging Face's table: one for each image."""
    return [
        {
            "file_name": f"{variant}/{variant}_{name}.webp",
            "type": variant,
            "object_label": subject,
            "attack_word": word,
            "postit_area_pct": 1.5,
            "id": f"{variant}_{name}",
        }
        for variant in VARIANTS
        for name, (subject, word) in PAIRS.items()
    ]


def as_csv(rows: Sequence[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def archive(root: Path) -> Path:
    for row in scam_rows():
        write(root / "train" / str(row["file_name"]), picture(1))
    write(root / "train" / "metadata.csv", as_csv(scam_rows()))
    return root


def archive_json_lines(root: Path) -> Path:
    archive(root)
    (root / "train" / "metadata.csv").unlink()
    lines = "".join(json.dumps(row) + "\n" for row in scam_rows())
    write(root / "train" / "metadata.jsonl", lines)
    return root


def zipped(root: Path) -> Path:
    archive(root / "unpacked")
    with zipfile.ZipFile(root / "images.zip", "w") as file:
        for path in sorted((root / "unpacked").rglob("*.*")):
            file.write(path, path.relative_to(root / "unpacked"))
        file.writestr("__MACOSX/train/SCAM/._SCAM_img_0001.webp", b"resource fork")
    return root / "images.zip"


def parquet(root: Path) -> Path:
    rows = [
        {**row, "image": {"bytes": picture(1), "path": str(row.pop("file_name"))}}
        for row in scam_rows()
    ]
    (root / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), root / "data" / "train-0.parquet", row_group_size=4)
    return root


def one_parquet(root: Path) -> Path:
    return parquet(root) / "data" / "train-0.parquet"


def project_page(root: Path) -> Path:
    for row in scam_rows():
        write(root / "data_images" / str(row["file_name"]), picture(1))
    index = [
        {"image_id": f"SCAM_{name}.jpg", "object_label": subject, "attack_word": word}
        for name, (subject, word) in PAIRS.items()
    ]
    write(root / "data" / "vlm_similarity_index.json", json.dumps(index))
    write(root / "data" / "vlm_similarity_metadata.json", "{}")
    write(root / "README.md", "SCAM")
    return root


def its_images(root: Path) -> Path:
    return project_page(root) / "data_images"


def with_labels(root: Path) -> Path:
    for row in scam_rows():
        name = str(row["id"]).partition("_")[2]
        write(root / str(row["type"]) / f"{name}.webp", picture(1))
    lines = [f"{name},{subject},{word},1.5" for name, (subject, word) in PAIRS.items()]
    header = "image_id,object,written_word,postit_area_percent"
    write(root / "labels.csv", "\n".join([header, *lines]) + "\n")
    return root


LAYOUTS: list[Callable[[Path], Path]] = [
    archive,
    archive_json_lines,
    zipped,
    parquet,
    one_parquet,
    project_page,
    its_images,
    with_labels,
]


def named(found: AttackPhotos) -> list[tuple[str, str, str]]:
    """(photo, object, word) of each image."""
    names = found.source.classes.names
    words = [names[word] if word != NO_WORD else "" for word in found.words]
    objects = [names[label] for label in found.source.labels]
    return sorted(zip(found.photos, objects, words, strict=True))


def test_docstrings_hold() -> None:
    import doctest

    assert doctest.testmod(attack_sets).failed == 0


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_scam_is_read_in_every_layout(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    found = open_attack_set(layout(tmp_path / "download"))
    assert list(found) == ["NoSCAM", "SCAM", "SynthSCAM"]
    for photos in found.values():
        assert photos.source.classes.names == ("Ball", "car", "fire extinguisher")
        assert named(photos) == [
            ("img_0001", "Ball", "car"),
            ("img_0002", "fire extinguisher", "Ball"),
        ]
        again: AttackPhotos = pickle.loads(pickle.dumps(photos))
        assert [item.data for item in again.source] == [picture(1)] * 2
        assert photos.note == ""


@pytest.mark.parametrize("layout", [with_labels, project_page])
def test_a_folder_of_scam_is_that_variant_with_all_classes(
    layout: Callable[[Path], Path], tmp_path: Path
) -> None:
    root = layout(tmp_path / "download")
    folder = root if layout is with_labels else root / "data_images"
    found = open_attack_set(folder / "SynthSCAM")
    assert list(found) == ["SynthSCAM"]
    assert len(found["SynthSCAM"].source) == 2
    assert found["SynthSCAM"].source.classes == open_attack_set(root)["SCAM"].source.classes


@pytest.mark.parametrize("below", ["", "rta100", "typographic_attacks"])
@pytest.mark.parametrize("packed", [False, True])
def test_file_names_tell_object_and_word(tmp_path: Path, below: str, packed: bool) -> None:
    names = [
        "label=dog_text=cat.png",
        "label=Dog_text=hair dryer.jpg",
        "label=hair_dryer_text=iPad.JPG",
        "label=cafe\u0301_text=dog.jpg",
    ]
    for name in names:
        write(tmp_path / "set" / below / name, picture(2, "jpeg" if "J" in name.upper() else "png"))
    write(tmp_path / "set" / below / "._label=dog_text=cat.png", b"resource fork")
    write(tmp_path / "set" / "README.txt", "RTA-100")
    path = tmp_path / "set"
    if packed:
        path = tmp_path / "rta100.zip"
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.write(tmp_path / "set" / below / name, f"{below or '.'}/{name}")
    found = open_attack_set(path)
    assert list(found) == ["attacked"]
    told = {(subject, word) for _, subject, word in named(found["attacked"])}
    assert told == {
        ("dog", "cat"), ("dog", "hair dryer"), ("hair dryer", "iPad"), ("café", "dog"),
    }  # fmt: skip


@pytest.mark.parametrize("table", ["annotations.json", "annotation.json"])
def test_disentangling_pairs_the_photos_of_an_object(tmp_path: Path, table: str) -> None:
    told = {
        "IMG_1.JPG": {"true object": "cup", "typographic attack label": ""},
        "IMG_2.JPG": {"true object": "cup", "typographic attack label": "good"},
        "IMG_3.JPG": {"true object": "cup", "typographic attack label": "pizza"},
        "IMG_4.JPG": {"true object": "plant", "typographic attack label": "good"},
    }
    write(tmp_path / table, json.dumps(told))
    for name in told:
        write(tmp_path / "images" / name, picture(3, "jpeg"))
    found = open_attack_set(tmp_path)
    assert list(found) == ["clean", "attacked"]
    assert named(found["clean"]) == [("cup", "cup", "")]
    assert named(found["attacked"]) == [
        ("cup", "cup", "good"), ("cup", "cup", "pizza"), ("plant", "plant", "good"),
    ]  # fmt: skip
    told["IMG_5.JPG"] = told["IMG_1.JPG"]
    write(tmp_path / table, json.dumps(told))
    write(tmp_path / "images" / "IMG_5.JPG", picture(3, "jpeg"))
    apart = open_attack_set(tmp_path)
    assert not set(apart["clean"].photos) & set(apart["attacked"].photos)
    assert "none is a twin" in apart["clean"].note


def test_rows_without_an_image_are_told_and_twins_stay_twins(tmp_path: Path) -> None:
    root = with_labels(tmp_path)
    (root / "NoSCAM" / "img_0002.webp").unlink()
    found = open_attack_set(root)
    assert found["NoSCAM"].photos == ["img_0001"]
    assert found["SCAM"].photos == ["img_0001", "img_0002"]
    for variant in VARIANTS:
        (root / variant / "img_0001.webp").unlink()
    assert open_attack_set(root)["SCAM"].note == "1 of 2 rows of labels.csv have no image here; "
    partial = archive(tmp_path / "archive")
    (partial / "train" / "SCAM" / "SCAM_img_0001.webp").unlink()
    assert "1 of 6 rows of train/metadata.csv" in open_attack_set(partial)["SCAM"].note


def test_a_given_class_list_decides_and_must_know_every_name(tmp_path: Path) -> None:
    root = with_labels(tmp_path)
    classes = ClassList(("a", "b", "c", "d"), ("Fire_Extinguisher", "CAR", "ball", "zebra"))
    found = open_attack_set(root, classes)
    assert named(found["SCAM"])[1] == ("img_0002", "Fire_Extinguisher", "ball")
    with pytest.raises(SourceError, match=r"SCAM/img_0001\.webp: 'car' is not in the class list"):
        open_attack_set(root, ClassList(("a", "b"), ("ball", "fire extinguisher")))


def no_index(root: Path) -> None:
    with_labels(root)
    (root / "labels.csv").unlink()


def unknown_photo(root: Path) -> None:
    with_labels(root)
    write(root / "SCAM" / "img_0009.webp", picture(1))


def no_word(root: Path) -> None:
    with_labels(root)
    write(root / "labels.csv", "image_id,object,written_word\nimg_0001,ball,\nimg_0002,a,b\n")


def latin_1(root: Path) -> None:
    with_labels(root)
    write(root / "labels.csv", "image_id,object,written_word\nimg_0001,café,b\n".encode("latin-1"))


def unknown_type(root: Path) -> None:
    archive(root)
    table = root / "train" / "metadata.csv"
    table.write_text(table.read_text().replace(",NoSCAM,", ",Clean,"))


def two_sets(root: Path) -> None:
    write(root / "label=dog_text=cat.png", picture(1, "png"))
    write(root / "holiday.png", picture(1, "png"))


def not_utf8(root: Path) -> None:
    root.mkdir()
    data = picture(1, "png")
    path = os.fsencode(root) + b"/label=caf\xe9_text=dog.png"
    with open(path, "wb") as file:
        file.write(data)


def no_images(root: Path) -> None:
    write(root / "annotations.json", json.dumps({
        "a.jpg": {"true object": "cup", "typographic attack label": "good"}
    }))  # fmt: skip


def no_row(root: Path) -> None:
    no_images(root)
    write(root / "images" / "b.jpg", picture(1, "jpeg"))


def no_object(root: Path) -> None:
    write(root / "a.jpg", picture(1, "jpeg"))
    write(root / "annotations.json", json.dumps({
        "a.jpg": {"true object": None, "typographic attack label": "good"}
    }))  # fmt: skip


def no_zip(root: Path) -> None:
    write(root, b"PK\x03\x04 and no more")


def mixed_parquet(root: Path) -> None:
    parquet(root)
    pq.write_table(pa.table({"image": [b""], "label": [1]}), root / "data" / "test-0.parquet")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_index, r"neither labels\.csv nor the project page's"),
        (unknown_photo, r"labels\.csv has no row for SCAM/img_0009\.webp"),
        (no_word, r"NoSCAM/img_0001\.webp: has no attack word"),
        (latin_1, r"labels\.csv cannot be read: 'utf-8' codec"),
        (unknown_type, r"its type is 'Clean', none of NoSCAM, SCAM, SynthSCAM"),
        (two_sets, r"1 images are named label=…_text=…, but 1 are not, the first holiday\.png"),
        (not_utf8, r"rename 'label=caf\\udce9_text=dog\.png'"),
        (no_images, r"holds none of its images; 1 of 1 rows of annotations\.json"),
        (no_row, r"annotations\.json has no row for images/b\.jpg"),
        (no_object, r"annotations\.json, a\.jpg: has no object label"),
        (no_zip, r"set\.zip: is no readable zip archive"),
        (mixed_parquet, r"test-0\.parquet: lacks the column 'attack_word' that train-0\.parquet"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_damaged_downloads_are_refused_in_one_line(
    damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    root = tmp_path / ("set.zip" if damage is no_zip else "set")
    damage(root)
    with pytest.raises(SourceError, match=message) as caught:
        open_attack_set(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["photos.csv", "metadata.csv", "annotations.json"])
def test_other_folders_are_no_attack_sets(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, '{"images": []}' if name.endswith("json") else "file_name,label\na,b\n")
    write(tmp_path / "n01440764" / "a.jpg", picture(1, "jpeg"))
    assert open_attack_set(tmp_path) == {}
    assert open_attack_set(tmp_path / "missing") == {}


def test_what_an_archive_cannot_give_fails_alone(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr("label=dog_text=cat.png", picture(1, "png"))
        file.writestr("label=dog_text=cup.png", picture(2, "png"))
    data = bytearray((tmp_path / "set.zip").read_bytes())
    data[100] ^= 0xFF  # inside the first picture
    (tmp_path / "set.zip").write_bytes(data)
    source = open_attack_set(tmp_path / "set.zip")["attacked"].source
    with pytest.raises(RowError, match="cannot be unpacked: Bad CRC-32"):
        source.read(0)
    assert source.read(1) == picture(2, "png")
