#!/usr/bin/env bash
# Does removing text regions make CLIP more accurate and robust at equal steps? From Tiny-ImageNet to
# the table: bash scripts/reproduce.sh [--size smoke|small|gpu] [--data tiny_imagenet/] [--out DIR];
# `--also masked` adds an arm to what was trained already.
# Run it again after an interruption and it goes on; a finished folder is only reported again.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
ensure_environment weights
exec python scripts/reproduce.py "$@"
