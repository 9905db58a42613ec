#!/usr/bin/env bash
# Let CLIP_benchmark and open_clip's own loader read what we write, in an environment of their own.
# They die with newer versions of NumPy and webdataset than they knew. Their environment is the
# locked one with the last versions that they run with on top (some 17 MB), and is made once.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
ensure_environment dev,weights,s3,ray,rapidocr,docs
versions=(numpy==2.2.6 webdataset==0.2.86)
peers=${LESSTEXT_PEERS_VENV:-.venv-peers}
site=$("$(command -v python)" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
wanted="${versions[*]} $site $(python --version)"
if [ "$(cat "$peers/.ready" 2>/dev/null)" != "$wanted" ]; then
    python -m venv --clear --without-pip "$peers"
    theirs=$("$peers/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    if command -v uv >/dev/null; then
        uv pip install --quiet --no-deps --python "$peers" "${versions[@]}"
    else
        python -m pip install --quiet --no-deps --target "$theirs" "${versions[@]}"
    fi
    echo "$site" >"$theirs/locked.pth" # behind its own packages on the path
    echo "$wanted" >"$peers/.ready"
fi
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" LESSTEXT_PEERS=1 \
    timeout 600 "$peers/bin/python" -m pytest tests/peers "$@"
