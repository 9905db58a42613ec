#!/usr/bin/env bash
# Install lesstext and filter a few hundred drawn samples with the real detector: from nothing to
# filtered shards and a report. Argument: the output folder (default quickstart-out).
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
ensure_environment weights
out=${1:-quickstart-out}
python scripts/make_quickstart_shards.py "$out/input"
lesstext filter "$out/input" --out "$out/filtered"
echo
echo "Open $out/filtered/report.html; the filtered shards are in $out/filtered/shards."
