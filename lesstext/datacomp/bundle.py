"""What is handed in to DataComp's leaderboard, in one folder: list, rule, hashes, commands."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lesstext.datacomp.subset_file import (
    Record,
    SubsetFile,
    distinct_uids,
    open_subset,
    read_record,
    sha256_of,
    write_json,
)
from lesstext.errors import UsageError
from lesstext.storage.files import write_text
from lesstext.storage.guard import claim_folder, refuse_overlap
from lesstext.storage.swap import NEW, finish_swap, swap
from lesstext.tables.selection import read_selection

Scale = Literal["small", "medium", "large", "xlarge"]
LIST, RULE, COMMANDS, CONTENTS = "subset.npy", "rule.json", "submit.sh", "bundle.json"
_SUBMIT = """#!/usr/bin/env bash
# Run in a checkout of github.com/mlfoundations/datacomp: shards of the subset, training at scale
# {scale}, evaluation, and submission to the leaderboard of its filtering track.
set -euo pipefail
: "${{POOL:?the shards of the pool}}" "${{SHARDS:?where those of the subset go}}"
: "${{RUNS:?where the training goes}}" "${{GPUS:?how many GPUs}}"
: "${{AUTHOR:?}}" "${{EMAIL:?}}" "${{HF_USERNAME:?}}" "${{HF_REPO_NAME:?}}"
subset="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)/{list}"
python resharder.py -i "$POOL" -o "$SHARDS" -s "$subset"
torchrun --nproc_per_node "$GPUS" train.py --scale {scale} --data_dir "$SHARDS" \\
    --output_dir "$RUNS" --exp_name {name}
python evaluate.py --track=filtering --train_output_dir="$RUNS"/{name} --submit \\
    --method_name={name} --samples="$subset" --author="$AUTHOR" --email="$EMAIL" \\
    --hf_username="$HF_USERNAME" --hf_repo_name="$HF_REPO_NAME"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What `bundle.json` says: SHA-256 of each other file by name, and the list's counts."""

    name: str
    scale: str
    uids: int
    distinct: int
    sha256: dict[str, str]


def bundle(
    subset: Path, out: Path, *, scale: Scale, name: str, selection: Path | None = None
) -> Bundle:
    """Write subset.npy, rule.json, submit.sh and, last, bundle.json into the folder `out`.

    The rule is that of the list's record, or of the `selection` that the list was written beside.
    The files replace those of an earlier bundle together. Raises UsageError for a list without a
    rule, a selection of another size, and a folder that is not ours or is among what is read.
    """
    if scale not in get_args(Scale):
        raise UsageError(f"--scale is one of {', '.join(get_args(Scale))}, not {scale}")
    refuse_overlap(out, [subset, *([] if selection is None else [selection])])
    found = open_subset(subset)
    record = _record(found, selection)
    claim_folder(out, "bundle")
    finish_swap(out)
    new = out / NEW
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    shutil.copyfile(subset, new / LIST)
    write_json(new / RULE, record.rule)
    quoted = shlex.quote(name)
    write_text(new / COMMANDS, _SUBMIT.format(scale=scale, name=quoted, list=LIST))
    digests = {file: sha256_of(new / file) for file in (LIST, RULE, COMMANDS)}
    if digests[LIST] != record.sha256:
        raise UsageError(f"{subset} was changed meanwhile: try again")
    done = Bundle(
        name=name, scale=scale, uids=record.uids, distinct=record.distinct, sha256=digests
    )
    write_json(new / CONTENTS, asdict(done))
    swap(out, [LIST, RULE, COMMANDS, CONTENTS])
    return done


def _record(subset: SubsetFile, selection: Path | None) -> Record:
    digest = sha256_of(subset.path)
    if selection is None:
        record = read_record(subset.path, digest)
        if record is None:
            raise UsageError(
                f"{subset.path} has no record of its rule: give --selection FILE.parquet, beside "
                "which `select --also` wrote the list, or make it by `lesstext datacomp select`"
            )
        return record
    rule = _rule_of(selection, subset)
    n_distinct = distinct_uids(subset)
    return Record(sha256=digest, uids=subset.n, distinct=n_distinct, rule=rule)


def _rule_of(path: Path, subset: SubsetFile) -> dict[str, Any]:
    selection = read_selection(path)
    if selection.counts.kept != subset.n:
        raise UsageError(
            f"{path} keeps {selection.counts.kept} samples, {subset.path} holds {subset.n} uids"
        )
    return {
        **selection.rule,
        "threshold": selection.threshold,
        "annotators": selection.annotators,
        "tables_digest": selection.tables_digest,
        "metadata": selection.metadata,
    }
