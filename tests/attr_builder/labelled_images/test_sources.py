"""Every layout gives the same keys and labels; what would be guessed at is refused."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attr_builder.errors import RowError, SourceError
from attr_builder.labelled_images.classes import imagenet_classes
from attr_builder.labelled_images.sources import open_source, parse_classes
from tests.attr_builder.conftest import LABELS, photo

WNIDS = imagenet_classes().wnids


def jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    photo(seed, 40, 30).save(buffer, "JPEG")
    return buffer.getvalue()


def write_parquet(path: Path, labels: list[int], **names: list[str | None]) -> Path:
    paths = names.get("names", [f"img_{i}.JPEG" for i in range(len(labels))])
    images = [{"bytes": jpeg(i), "path": p} for i, p in enumerate(paths)]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, struct), "label": pa.array(labels, pa.int64())})
    pq.write_table(table, path, row_group_size=2)
    return path


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_flat(folder: Path, n: int) -> Path:
    folder.mkdir()
    for i in range(n):
        (folder / f"ILSVRC2012_val_{i + 1:08d}.JPEG").write_bytes(jpeg(i))
    return folder


def test_image_folder_keeps_true_imagenet_labels_of_a_subset(photos: Path) -> None:
    for spec in (photos, photos / "val"):
        source = open_source(spec)
        assert source.kind == "imagefolder"
        assert sorted(set(source.labels)) == list(LABELS)
        assert source.keys == sorted(source.keys)
        item = source[4]
        assert item.key == f"{WNIDS[1]}/{WNIDS[1]}_1"
        assert item.data == (photos / "val" / f"{item.key}.JPEG").read_bytes()


def test_parquet_rows_keep_their_names_labels_and_bytes(tmp_path: Path) -> None:
    source = open_source(write_parquet(tmp_path / "val.parquet", [5, 900, 7, 5, 3]))
    assert source.kind == "parquet"
    assert source.keys == [f"img_{i}" for i in range(5)]
    assert [source[i].data for i in (4, 0, 2)] == [jpeg(4), jpeg(0), jpeg(2)]
    assert source.labels == [5, 900, 7, 5, 3]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1.0, float("nan")], "row 1: label is no whole number: nan"),
        ([1.0, float("inf")], "row 1: label is no whole number: inf"),
        ([1.0, 2.5], "row 1: label is no whole number: 2.5"),
        ([True, False], "row 0: label is no whole number: True"),
        (["1", "dog"], "row 1: label is no whole number: dog"),
        ([1, None], "row 1: label is no whole number: None"),
        ([1, -1], r"key img_1 \(.*\): label -1, but the class list has 1000"),
        ([1, 2**40], "label 1099511627776, but"),
    ],
)
def test_parquet_labels_that_are_none_are_refused_by_row(
    tmp_path: Path, labels: list[object], message: str
) -> None:
    path = write_parquet(tmp_path / "val.parquet", [0, 0])
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "label", pa.array(labels)), path)
    with pytest.raises(SourceError, match=message):
        open_source(path)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "val.parquet", [5, 900])
    source, data = open_source(path), path.read_bytes()
    start = len(data) - int.from_bytes(data[-8:-4], "little") - 8
    path.write_bytes(data[:4] + bytes(start - 4) + data[start:])
    with pytest.raises(SourceError, match=r"val\.parquet, row group 0: is damaged: "):
        open_source(path)
    with pytest.raises(RowError, match="cannot be read"):
        source[0]


def test_parquet_without_distinct_names_is_keyed_by_position(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "val.parquet", [5, 900], names=["a.jpg", "a.jpg"])
    assert open_source(path).keys == ["val-0000000", "val-0000001"]
    path = write_parquet(tmp_path / "val.parquet", [5, 900], names=[None, None])
    assert open_source(path).keys == ["val-0000000", "val-0000001"]


def test_shards_with_repeated_keys_are_told_apart_by_shard(tmp_path: Path) -> None:
    for shard, label in (("0", 3), ("1", 900)):
        members = {"s1.jpg": jpeg(label), "s1.cls": str(label).encode()}
        write_tar(tmp_path / f"{shard}.tar", members)
    source = open_source(tmp_path)
    assert source.kind == "webdataset"
    assert source.keys == ["0/s1", "1/s1"]
    assert [item.label for item in source] == [3, 900]
    assert pickle.loads(pickle.dumps(source))[1].data == jpeg(900)


@pytest.mark.parametrize(
    "lines",
    [
        "ILSVRC2012_val_00000002.JPEG 7\nILSVRC2012_val_00000001.JPEG 3\n",
        f"{WNIDS[3]}\n{WNIDS[7]}\n",
        f"ImageId,PredictionString\nILSVRC2012_val_00000001,{WNIDS[3]} 1 2 3 4\n"
        f"ILSVRC2012_val_00000002,{WNIDS[7]} 1 2 3 4\n",
    ],
    ids=["caffe", "wnids", "kaggle"],
)
def test_flat_folder_reads_the_usual_label_files(tmp_path: Path, lines: str) -> None:
    (tmp_path / "labels.txt").write_text(lines)
    source = open_source(write_flat(tmp_path / "val", 2), labels=tmp_path / "labels.txt")
    assert source.labels == [3, 7]
    assert source.keys[0] == "ILSVRC2012_val_00000001"


def test_devkit_numbers_follow_the_devkits_own_order(tmp_path: Path) -> None:
    truth = tmp_path / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("490\n1\n")
    folder = write_flat(tmp_path / "val", 2)
    with pytest.raises(SourceError, match=r"own class order.*meta\.mat"):
        open_source(folder, labels=truth)
    (tmp_path / "map_clsloc.txt").write_text(f"{WNIDS[278]} 1 kit_fox\n{WNIDS[65]} 490 snake\n")
    assert open_source(folder, labels=truth).labels == [65, 278]


def test_devkit_meta_mat_is_read(tmp_path: Path) -> None:
    import numpy as np
    from scipy.io import savemat

    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O")]
    synsets = np.array([(490, WNIDS[65]), (1, WNIDS[278])], dtype=fields)
    savemat(tmp_path / "meta.mat", {"synsets": synsets})
    (tmp_path / "truth.txt").write_text("490\n1\n")
    folder = write_flat(tmp_path / "val", 2)
    assert open_source(folder, labels=tmp_path / "truth.txt").labels == [65, 278]


def test_wrong_label_files_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_flat(tmp_path / "val", 2)
    labels = tmp_path / "labels.txt"
    for text, message in (
        ("3\n", "has 1 lines for 2 images"),
        ("0\n1000\n", "line 2: '1000' is no class"),
        ("other.JPEG 3\nfile.JPEG 4\n", "not ILSVRC2012_val_00000001.JPEG"),
        ("", "is empty"),
        ("²\n1\n", "line 1: '²' is no class"),
        ("ILSVRC2012_val_00000001.JPEG ²\nILSVRC2012_val_00000002.JPEG 1\n", "line 1: '²' is no"),
        ("nan\n1.5\n", "line 1: 'nan' is no class"),
    ):
        labels.write_text(text)
        with pytest.raises(SourceError, match=message):
            open_source(folder, labels=labels)
    with pytest.raises(SourceError, match="give --labels"):
        open_source(folder)


def test_class_count_mismatch_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "val.parquet", [0, 1, 2])
    with pytest.raises(SourceError, match="labels run from 0 to 2"):
        open_source(path)
    assert len(open_source(path, classes=parse_classes("imagenet"))) == 3
    (tmp_path / "two.csv").write_text("wnid,name\na,cat\nb,dog\n")
    with pytest.raises(SourceError, match="label 2, but the class list has 2"):
        open_source(path, classes=parse_classes(str(tmp_path / "two.csv")))


def test_declared_class_names_must_agree_in_number(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "val.parquet", [5, 900])
    info = b'{"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}'
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"huggingface": info}), path)
    with pytest.raises(SourceError, match="declares 2 classes"):
        open_source(path)


def test_unknown_class_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / WNIDS[0]).mkdir()
    photo(0).save(tmp_path / WNIDS[0] / "a.jpg")
    (tmp_path / "zebra-ish").mkdir()
    with pytest.raises(SourceError, match="zebra-ish: is no class"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.jpg": b"x"}, "key a: needs a `cls`"),
        ({"a.jpg": b"x", "a.cls": b"dog"}, "has 'dog'"),
        ({"a.jpg": b"x", "a.cls": "²".encode()}, "key a: .* has '²'"),
        ({"a.jpg": b"x", "a.cls": b"9" * 5000}, "key a: .* has '9{40}'$"),
        ({"a.jpg": b"x", "a.cls": b"1000"}, "key a .*label 1000, but"),
    ],
)
def test_shard_samples_without_label_are_refused(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(write_tar(tmp_path / "0.tar", members))


def test_truncated_shard_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.jpg": jpeg(1), "a.cls": b"3"})
    path.write_bytes(path.read_bytes()[:1536])
    with pytest.raises(SourceError, match="truncated"):
        open_source(path)


def test_sample_without_image_fails_alone(tmp_path: Path) -> None:
    members = {"a.cls": b"3", "b.jpg": jpeg(1), "b.cls": b"900"}
    source = open_source(write_tar(tmp_path / "0.tar", members))
    with pytest.raises(RowError, match="holds no image"):
        source[0]
    assert source[1].data == jpeg(1)


def test_two_files_of_one_key_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / WNIDS[0]
    folder.mkdir()
    photo(0).save(folder / "a.jpg")
    photo(0).save(folder / "a.png")
    with pytest.raises(SourceError, match=r"a\.jpg and .*a\.png"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wnid\na\n", "columns wnid,name"),
        ("wnid,name\na,\n", "line 2"),
        ("wnid,name,label\na,cat,0\nb,dog,2\n", "labels must be 0 to 1"),
        ("wnid,name\na,cat\na,dog\n", "twice"),
        ("wnid,name,label\na,cat,x\n", "not a whole number"),
        ("wnid,name,label\na,cat,²\n", "line 2: label '²' is not a whole number"),
        ("wnid,name,label\na,cat,nan\n", "not a whole number"),
        ("wnid,name\na," + "x" * 200_000 + "\n", "classes.csv: field larger than"),
    ],
)
def test_bad_class_lists_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        parse_classes(str(tmp_path / "classes.csv"))
