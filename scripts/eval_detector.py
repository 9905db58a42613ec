"""Measure text detectors on labelled photographs: separation, area error and speed.

    python scripts/eval_detector.py --data $LESSTEXT_DATA --detector craft --detector easyocr \\
        --size 256 --size 384 --size 512 --icdar-size 640 --out results.json --markdown table.md

`--data` holds `scam/` (pairs of one photograph with a handwritten word on a note, and with the
note blank) and `icdar2015/` (street photographs with every text outlined). `--precisions` and
`--images`, with or without `--data`, tell how far two precisions of the first detector agree.

    python scripts/eval_detector.py --data $LESSTEXT_DATA --frontier cache/ \\
        --out frontier.json --markdown frontier.md --plot frontier.png

measures all detectors, also on unlabelled photos and on photos without text, against the first;
`--detector small@384:float32` adds one to the list, `-small@384` on the labelled sets alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from detector_eval import frontier_page
from detector_eval.data import load_icdar, load_images, load_scam
from detector_eval.frontier import Frontier, measure, parse
from detector_eval.measure import Agreement, Run, compare_precisions, measure_icdar, measure_scam
from detector_eval.tables import Results, about, markdown

from lesstext.errors import LesstextError, UsageError
from lesstext.storage.files import write_text
from lesstext.text_detection.protocol import DetectorSettings

FRONTIER = (
    "craft@384",
    "-craft@640",
    "rapidocr@384",
    "checked@384",
    "checked@640",
    "cascade@384",
    "small@384",
    "confirmed@384",
    "-confirmed@384::runtime=torch",
    "-confirmed@384:float32",
    "-confirmed@640",
)
"""Those with a - in front are looked at on the labelled sets alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """What to measure; sizes are longer sides in pixels."""

    data: Path | None
    out: Path
    markdown: Path
    detectors: tuple[str, ...]
    scam_sizes: tuple[int, ...]
    icdar_sizes: tuple[int, ...]
    limit: int | None = None
    threads: int = 1
    device: str = "cpu"
    precisions: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be at least 1, got {self.limit}")
        if self.images and len(self.precisions) != 2:
            raise UsageError("--images needs --precisions with two names, as float32,bfloat16")
        if self.precisions and not self.images:
            raise UsageError("--precisions needs --images: a folder or a shard")
        if self.data is None and not self.images:
            raise UsageError("nothing to measure: give --data, or --images and --precisions")

    def settings(self, detector: str, size_px: int) -> DetectorSettings:
        return DetectorSettings(
            name=detector, size_px=size_px, threads=self.threads, device=self.device
        )


def evaluate(config: EvalConfig) -> Results:
    """Measure all that `config` names; the results so far are on disk after every step."""
    results = Results(about=about(threads=config.threads, device=config.device, note=config.note))
    for step in _steps(config, results):
        if isinstance(step, Run):
            results.runs.append(step)
        else:
            results.agreements.append(step)
        print(_headline(step), file=sys.stderr, flush=True)
        write_text(config.out, json.dumps(asdict(results)) + "\n", unguarded=True)
        write_text(config.markdown, markdown(results), unguarded=True)
    return results


def evaluate_frontier(
    data: Path, cache: Path, names: Sequence[str], limit: int | None, note: str
) -> Frontier:
    """Measure all detectors in one run, with what the cache holds already."""
    candidates = [parse(name) for name in names]
    points = measure(data, cache, candidates, limit)
    return Frontier(about=about(threads=1, device="cpu", note=note), points=points)


def _steps(config: EvalConfig, results: Results) -> Iterator[Run | Agreement]:
    if config.data is not None:
        pairs = load_scam(config.data / "scam", config.limit)
        icdar = load_icdar(config.data / "icdar2015", config.limit)
        results.truth = [image.true_ratio for image in icdar]
        for detector, size in product(config.detectors, config.icdar_sizes):
            yield measure_icdar(config.settings(detector, size), icdar)
        for detector, size in product(config.detectors, config.scam_sizes):
            yield measure_scam(config.settings(detector, size), pairs)
    for path in config.images:
        base = config.settings(config.detectors[0], config.scam_sizes[0])
        first, second = (replace(base, precision=name) for name in config.precisions)
        name = "/".join(path.parts[-2:])
        yield compare_precisions((first, second), name, load_images(path, config.limit))


def _headline(step: Run | Agreement) -> str:
    if isinstance(step, Agreement):
        return f"{step.images}: {step.share_within:.1%} of {step.n_images} within {step.tolerance}"
    metrics = ", ".join(
        f"{name} {value:.4f}" for name, value in step.metrics.items() if value is not None
    )
    name = f"{step.dataset} {step.detector} {step.size_px}"
    return f"{name}: {metrics}, {step.seconds_per_image:.3f} s/image"


def main(
    out: Annotated[Path, typer.Option(help="Results as JSON.")],
    markdown: Annotated[Path, typer.Option(help="The same as tables.")],
    data: Annotated[Path | None, typer.Option(help="Folder with scam/ and icdar2015/.")] = None,
    detector: Annotated[
        list[str] | None, typer.Option(help="Detector (craft); repeat to compare.")
    ] = None,
    size: Annotated[
        list[int] | None, typer.Option(help="Longer side on scam, px (384); repeat.")
    ] = None,
    icdar_size: Annotated[
        list[int] | None, typer.Option(help="Longer side on icdar2015, px (640); repeat.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Pairs or images of each data set, spread evenly (all).")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of the network.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda:N.")] = "cpu",
    precisions: Annotated[
        str, typer.Option(help="Two precisions of the first detector, as float32,bfloat16.")
    ] = "",
    images: Annotated[
        list[Path] | None, typer.Option(help="Folder or shard to compare precisions on; repeat.")
    ] = None,
    note: Annotated[
        str, typer.Option(help="Added to what the table says of the machine, as how busy it was.")
    ] = "",
    frontier: Annotated[
        Path | None, typer.Option(help="Folder of findings: measure all detectors in one run.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="The frontier as a picture (PNG).")] = None,
) -> None:
    """Measure every detector at every size; write the results as JSON and as markdown tables."""
    try:
        if frontier is not None:
            if data is None:
                raise UsageError("--frontier needs --data")
            names = [*FRONTIER, *(detector or [])]
            found = evaluate_frontier(data, frontier, names, limit, note)
            write_text(out, json.dumps(asdict(found), indent=1) + "\n", unguarded=True)
            write_text(markdown, frontier_page.markdown(found), unguarded=True)
            if plot is not None:
                frontier_page.draw(found.points, plot)
            return
        config = EvalConfig(
            data=data,
            out=out,
            markdown=markdown,
            detectors=tuple(detector or ["craft"]),
            scam_sizes=tuple(size or [384]),
            icdar_sizes=tuple(icdar_size or [640]),
            limit=limit,
            threads=threads,
            device=device,
            precisions=tuple(precisions.split(",")) if precisions else (),
            images=tuple(images or []),
            note=note,
        )
        evaluate(config)
    except LesstextError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
