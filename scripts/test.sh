#!/usr/bin/env bash
# Install the development environment and run all checks: ruff, mypy --strict, the tests, the docs.
# Arguments go to pytest. LESSTEXT_DATA names the folder of real data; without it those tests skip.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
ensure_environment dev,weights,s3,ray,rapidocr,fast,entities,docs
ruff check .
ruff format --check .
mypy
pytest "$@"
NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
