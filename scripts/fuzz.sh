#!/usr/bin/env bash
# Feed odd tars, images and specs to lesstext and check what must hold: an end in time, no traceback,
# every sample accounted for, nothing changed outside the output. --cases N --seed S; --help says
# more. The summary goes to scripts/results/fuzz.json unless --out or --only says otherwise.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
ensure_environment dev
where=(--out scripts/results/fuzz.json)
for argument in "$@"; do
    case $argument in --out | --out=* | --only | --only=*) where=() ;; esac
done
exec python -m tests.fuzz.campaign "${where[@]}" "$@"
