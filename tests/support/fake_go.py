"""A `go` for tests: an executable that answers as the real one does and "builds" scripts that say their version."""

from pathlib import Path

SCRIPT = """#!/bin/sh
# $0.log gets one line per call
echo "$@" >> "$0.log"
case "$1" in
env)
    if [ "$2" = GOVERSION ]; then echo "GO"; else echo '{"GOCACHE": "TMP", "GOMODCACHE": "TMP"}'; fi;;
list)
    echo "go: downloading example.com/a v1.0.0" >&2; echo a; echo b;;
build)
    FAIL
    while [ "$1" != -o ]; do shift; done
    target=$2; shift 2
    for package in "$@"; do
        name=${package##*/}; [ "$name" != v3 ] || name=server
        echo "$package" >&2
        printf '#!/bin/sh\\necho "Version: SAYS"\\n' > "$target$name"
        chmod +x "$target$name"
    done;;
esac
"""


def fake_go(folder: Path, *, says: str, version: str = "go1.21.3", fail: str = "") -> Path:
    """Put a `go` of this version into `folder` whose programs say version `says`. `fail` is shell run by `build`."""
    folder.mkdir(parents=True, exist_ok=True)
    go = folder / "go"
    script = (
        SCRIPT.replace('GO"', f'{version}"').replace("TMP", str(folder)).replace("SAYS", says).replace("FAIL", fail)
    )
    go.write_text(script)
    go.chmod(0o755)
    return go


def calls(go: Path, command: str) -> int:
    """How often `go COMMAND` was called."""
    log = Path(f"{go}.log")
    return sum(line.split()[0] == command for line in log.read_text().splitlines()) if log.exists() else 0
