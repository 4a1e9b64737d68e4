"""build/bench.json → the table in docs/benchmarks.md, with date, commit and machine."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path("docs/benchmarks.md")
MARK = "<!-- written by `make bench` below this line -->"
HIDDEN = ("bench",)


def write(rows: Iterable[dict[str, object]]) -> None:
    """Replace what stands below the mark."""
    head = PAGE.read_text().partition(MARK)[0]
    parts = [head + MARK, "", _machine(), ""]
    by_bench: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        by_bench.setdefault(str(row["bench"]), []).append(row)
    for name, found in by_bench.items():
        parts += [f"## {name}", "", *_table(found), ""]
    PAGE.write_text("\n".join(parts))


def _table(rows: list[dict[str, object]]) -> list[str]:
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in HIDDEN]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(_cell(row.get(key, "")) for key in columns) + " |" for row in rows]


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return f"{value}"


def _machine() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = platform.python_version()
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, Python {python}"
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit.stdout.strip()}, {machine}."


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text()))
