#!/bin/sh
# Make .venv with exactly what requirements-dev.lock pins and the project itself; do nothing where that is done already.
# Needs Linux, Python >= 3.11 with venv, and git; names what is missing. Talks on stderr.
set -eu
cd "$(dirname "$0")/.."
exec 1>&2

missing() { # what Debian's package Fedora's package
    echo "missing: $1. Debian/Ubuntu: apt install $2; Fedora: dnf install $3"
    lacking=yes
}

find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            command -v "$name"
            return
        fi
    done
}

lacking=no
[ "$(uname -s)" = Linux ] || { echo "kube-upgrade is developed on Linux; this is $(uname -s)"; exit 1; }
python=$(find_python)
[ -n "$python" ] || missing "Python 3.11 or newer" "python3 python3-venv" python3
[ -z "$python" ] || "$python" -c 'import ensurepip, venv' 2>/dev/null || missing "Python's venv" python3-venv python3
command -v git >/dev/null || missing git git git
[ "$lacking" = no ] || exit 1

stamp=.venv/.setup
wanted=$(cat requirements-dev.lock pyproject.toml tools/setup.sh | sha256sum)
if [ -x .venv/bin/python ] && [ "$(cat $stamp 2>/dev/null)" = "$wanted $PWD" ]; then
    exit 0
fi
.venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}
echo "installing what requirements-dev.lock pins"
pip() { .venv/bin/python -m pip --quiet --disable-pip-version-check "$@"; }
pip install --require-hashes --requirement requirements-dev.lock
pip install --no-deps --no-build-isolation --editable .
echo "$wanted $PWD" >$stamp
