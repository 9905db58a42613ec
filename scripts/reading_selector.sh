#!/usr/bin/env bash
# Does a selector of entities keep a wrong one because its word is printed in the image, and does hiding the text repair
# it? bash scripts/reading_selector.sh [--size smoke|small] [--data DIR] [--out DIR] [--models DIR] [--until STAGE].
# Run it again after an interruption and it goes on; a finished folder is only reported again.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
ensure_environment imagenet-selector
exec python scripts/reading_selector.py "$@"
