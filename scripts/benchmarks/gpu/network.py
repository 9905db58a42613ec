"""CRAFT's forward alone: plainly, by a CUDA graph, and compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from gpu.bench import Bench, Figures
from gpu.inputs import craft

if TYPE_CHECKING:
    import torch

    Forward = Callable[[torch.Tensor], torch.Tensor]


def forward(bench: Bench) -> Figures:
    """Images/s of one full batch of 384 x 384 in each way, and how far scores lie from plain."""
    import torch

    detector = craft(bench)
    n, side_px = detector.batch_size, bench.pick(384, 96)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, side_px, side_px, 3), generator=generator)
    canvases = pixels.to(torch.uint8).to(bench.device)
    with torch.inference_mode():
        plain = detector.maps(canvases)
        for name, make in _ways(bench).items():
            try:
                run = make(detector.maps, canvases)
                apart = float((run(canvases) - plain).abs().max())
                rounds = [bench.seconds_of(partial(run, canvases)) for _ in range(_n(bench))]
            except Exception as error:  # one way that fails must not hide the others
                yield {name: f"failed: {error!r}"[:300]}
                continue
            yield {
                f"{name}, images/s": n / median(rounds),
                f"{name}, largest difference of a score": apart,
            }
    if bench.on_gpu:
        yield {"peak GPU MiB": torch.cuda.max_memory_allocated(bench.device) / 2**20}


def _n(bench: Bench) -> int:
    return bench.pick(30, 1)


def _ways(bench: Bench) -> dict[str, Callable[[Forward, torch.Tensor], Forward]]:
    ways: dict[str, Callable[[Forward, torch.Tensor], Forward]] = {"plain": _plain}
    if bench.on_gpu:
        ways["CUDA graph"] = _graph
    if not bench.smoke:  # compiling takes longer than a smoke run may
        ways["torch.compile"] = _compiled
    return ways


def _plain(score: Forward, _: torch.Tensor) -> Forward:
    return score


def _graph(score: Forward, canvases: torch.Tensor) -> Forward:
    """Capture after a few runs on a stream of its own, as torch's documentation asks."""
    import torch

    held = canvases.clone()
    aside: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            score(held)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = score(held)

    def run(given: torch.Tensor) -> torch.Tensor:
        held.copy_(given)
        graph.replay()
        return out

    return run


def _compiled(score: Forward, _: torch.Tensor) -> Forward:
    import torch

    compiled: Any = torch.compile(score)
    return compiled  # type: ignore[no-any-return]
