"""docs/reference/weather.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_test_named_in_the_weather_table_exists() -> None:
    named = NAMED.findall((ROOT / "docs/reference/weather.md").read_text())
    missing = [f"{file}::{test}" for file, test in named if not _defined(ROOT / file, test)]
    assert missing == []
    assert len(named) > 30


def test_every_test_of_the_weather_folder_is_in_the_table() -> None:
    table = (ROOT / "docs/reference/weather.md").read_text()
    there = [
        f"{file.relative_to(ROOT)}::{test}"
        for file in (ROOT / "tests/weather").glob("test_*.py")
        for test in re.findall(r"^async def (test_\w+)", file.read_text(), re.MULTILINE)
    ]
    assert [name for name in there if f"`{name}`" not in table] == []


def _defined(file: Path, test: str) -> bool:
    return file.exists() and (not test or bool(re.search(rf"def {test}\(", file.read_text())))
