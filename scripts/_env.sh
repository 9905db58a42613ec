# Sourced by the other scripts: makes a virtual environment with the tested versions and activates it.
# PYTHON picks the interpreter (3.10 or newer), LESSTEXT_VENV the folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ensure_environment() { # ensure_environment EXTRA[,EXTRA…]
    local extras=$1 python=${PYTHON:-python3} venv=${LESSTEXT_VENV:-.venv} wanted
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
        echo "Python 3.10 or newer is needed; set PYTHON to one ($("$python" --version) found)" >&2
        exit 2
    }
    wanted="$extras $(cat pyproject.toml requirements.lock | cksum)"
    if [ "$(cat "$venv/.lesstext-ready" 2>/dev/null)" != "$wanted" ]; then
        echo "Installing into $venv (torch is large: seconds with uv, minutes with pip)" >&2
        if command -v uv >/dev/null; then
            [ -d "$venv" ] || uv venv --quiet --python "$python" "$venv"
            uv pip install --quiet --python "$venv" --constraint requirements.lock --editable ".[$extras]"
        else
            [ -d "$venv" ] || "$python" -m venv "$venv"
            "$venv/bin/python" -m pip install --quiet --constraint requirements.lock --editable ".[$extras]"
        fi
        echo "$wanted" >"$venv/.lesstext-ready"
    fi
    # shellcheck disable=SC1091
    source "$venv/bin/activate"
}
