#!/usr/bin/env bash
# All that this project says of GPUs, measured on one, in at most nine minutes and without a network:
#   bash scripts/benchmarks/gpu.sh [--inputs DIR] [--out DIR] [--device cuda:0|cpu] [--smoke]
# DIR is what pack_gpu_inputs.py made (default: gpu-inputs). Takes PYTHON (default: python3) as it is
# and installs nothing: a part whose packages or inputs are missing is named and passed over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1
exec "${PYTHON:-python3}" scripts/benchmarks/bench_gpu.py "$@"
