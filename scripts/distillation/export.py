"""From a training run to the file of weights that `small` loads."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save

from lesstext.storage.files import atomic_path
from lesstext.text_detection.detectors.small.network import SmallNetwork

MAX_BYTES = 5_000_000


def export(network: SmallNetwork, path: Path) -> None:
    """Write the weights in half precision, which they are computed from in single precision.

    Equal weights give equal bytes. Raises ValueError when they exceed what a wheel should carry.
    """
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    data = save(weights)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes of weights, more than {MAX_BYTES}")
    with atomic_path(path, unguarded=True) as partial:
        partial.write_bytes(data)
