"""What the packages export: these names, from where they live, and nothing heavy at import."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.module_graph import PACKAGES, ROOT

HEAVY = ("torch", "pyarrow", "cv2", "numpy", "duckdb", "open_clip", "typer")
MAX_IMPORT_S = 0.1
PUBLIC = {
    "lesstext": """
        Annotator AnnotatorError AreaRatios ClipModel Counts DecodedImage Detector
        DetectorError DetectorSettings ExportSummary ImageError LesstextError
        MissingFileError OpenSample Rule RunSummary Selection ShardError ShardIndex
        ShardSource StorageError TableError TextArea TextRegions UsageError __version__
        annotate area_ratios decode expand_specs export_shards fill index_shard load_detector
        load_model location open_samples read_selection read_tables region_mask score select
        write_report
    """,
    "attr_builder": """
        AttackMap AttrTransform CaptionedEmbeddings CaptionedImages ClassList EvaluateConfig
        Evaluation LabelledEmbeddings Recipe RenderOptions Retrieval RowError SetError
        SourceError Statistics as_markdown build_set embed_captioned embed_labelled evaluate
        imagenet_classes load_class_list make_recipe measure_retrieval open_source paper_map
        random_map read_map similar_map verify_set write_contact_sheet
    """,
    "train_clip": """
        CaptionAugment CheckpointError Comparison ComparisonConfig ConfigError DataError
        EvalConfig ImageAugment Interrupted LoaderError NonFiniteError SourceConfig
        TrainConfig TrainError compare evaluate_checkpoint export_checkpoint load_comparison
        markdown_table train
    """,
}


@pytest.mark.parametrize("package", PUBLIC)
def test_a_package_exports_these_names(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(PUBLIC[package].split())
    exported = {name: getattr(module, name) for name in module.__all__}
    assert [name for name, value in exported.items() if not _is_described(name, value)] == []
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018


def _is_described(name: str, value: object) -> bool:
    """A dataclass without a docstring gets its signature as one: that is no description."""
    return bool(value.__doc__) and not str(value.__doc__).startswith(f"{name}(")


@pytest.mark.parametrize("package", PUBLIC)
def test_type_checkers_see_what_is_exported(package: str) -> None:
    """The imports under `if TYPE_CHECKING:` name the same modules as those made at run time."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    module = importlib.import_module(package)
    (holds,) = [
        ast.literal_eval(node.args[1])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazily"
    ]
    assert seen == {name: home for home, names in holds.items() for name in names.split()}
    assert sorted(seen) == sorted(set(module.__all__) - {"__version__"})


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_is_fast_and_brings_nothing_heavy(package: str, tmp_path: Path) -> None:
    """The fastest of three: what other processes take does not count."""
    program = f"""
import json, sys, time
start = time.perf_counter()
import {package}
seconds = time.perf_counter() - start
print(json.dumps([seconds, [name for name in {HEAVY} if name in sys.modules]]))
"""
    answers = [_run(program, tmp_path) for _ in range(3)]
    assert min(seconds for seconds, _ in answers) < MAX_IMPORT_S
    assert [heavy for _, heavy in answers] == [[], [], []]


def _run(program: str, folder: Path) -> tuple[float, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, heavy = json.loads(done.stdout)
    return seconds, heavy
