#!/usr/bin/env bash
# What is learnt from entities in the place of alt-texts? Labels by the real commands, then every way to train on
# them, at equal steps: bash scripts/reproduce_mofi.sh [--size smoke|small|gpu] [--data DIR] [--out DIR] [--until STAGE].
# Run it again after an interruption and it goes on; a finished folder is only reported again.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
ensure_environment probe,imagenet-selector
exec python scripts/reproduce_mofi.py "$@"
