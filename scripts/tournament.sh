#!/usr/bin/env bash
# Which policy about text in images is right? Every policy over one corpus whose truth is known, at equal
# steps: bash scripts/tournament.sh [--size smoke|small] [--data tiny_imagenet/] [--out DIR].
# Run it again after an interruption and it goes on; a finished folder is only reported again.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
ensure_environment weights,rapidocr
exec python scripts/tournament.py "$@"
