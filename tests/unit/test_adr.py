"""The records of decisions can be found by their numbers."""

import re
from collections import Counter
from pathlib import Path

TOP = Path(__file__).parents[2]
RECORDS = sorted((TOP / "docs/adr").glob("*.md"))


def test_no_two_records_have_one_number() -> None:
    numbers = Counter(record.name[:4] for record in RECORDS)
    assert [number for number, count in numbers.items() if count > 1] == []
    assert all(record.read_text().startswith(f"# {int(record.name[:4])}. ") for record in RECORDS)


def test_every_record_that_is_named_is_there() -> None:
    places = [*TOP.glob("*.md"), *TOP.glob("docs/**/*.md"), *TOP.glob("deploy/**/*.*"), *TOP.glob("src/**/*.py")]
    named = {
        name for place in places for name in re.findall(r"docs/adr/(\d{4}[\w-]*)", place.read_text(errors="replace"))
    }
    assert [name for name in named if not any(record.stem.startswith(name) for record in RECORDS)] == []
