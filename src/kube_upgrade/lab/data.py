"""The folders that the lab reads: deploy/ and scenarios/, from the checkout or from the installed package."""

from pathlib import Path

_CHECKOUT = Path(__file__).parents[3]
_INSTALLED = Path(__file__).parent / "data"


def folder(name: str) -> Path:
    """deploy or scenarios. Raises FileNotFoundError where neither the checkout nor the package has it."""
    for base in (_CHECKOUT, _INSTALLED):
        if (base / name).is_dir():
            return base / name
    raise FileNotFoundError(f"no folder {name} in {_CHECKOUT} or {_INSTALLED}")
