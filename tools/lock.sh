#!/bin/sh
# Write requirements.lock, requirements-dev.lock and requirements-binary.lock anew: the newest versions that pyproject.toml allows, with hashes.
set -eu
cd "$(dirname "$0")/.."
tool=.venv/lock
[ -x $tool/bin/uv ] || .venv/bin/python -m venv $tool
$tool/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
compile() {
    $tool/bin/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate \
        --python-version 3.11 --python-platform linux pyproject.toml "$@"
}
compile --extra postgres --output-file requirements.lock # the image keeps slots in either database
compile --extra dev --output-file requirements-dev.lock
compile --extra binary --constraint requirements.lock --output-file requirements-binary.lock
