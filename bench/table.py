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
    """Replace the sections of these benches below the mark; a bench that was not run keeps its own."""
    head, _, below = PAGE.read_text().partition(MARK)
    sections = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in below.split("\n## ")[1:]}
    by_bench: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        by_bench.setdefault(str(row["bench"]), []).append(row)
    for name, found in by_bench.items():
        sections[name] = "\n".join([_machine(), "", *_table(found)])
    PAGE.write_text("\n\n".join([head + MARK, *(f"## {name}\n\n{text}" for name, text in sections.items())]) + "\n")


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
