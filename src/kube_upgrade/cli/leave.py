"""Leave the lab without a verdict: a sentence for people on stderr and, with `-o json`, an object on stdout."""

import json
import sys
from typing import NoReturn

import typer

from kube_upgrade.lab.outcome import no_verdict

USAGE = 2
BROKEN = 4  # the lab could not be set up: no word on the upgrade
INTERRUPTED = 130


def leave(message: str, code: int, *, as_json: bool) -> NoReturn:
    """End the command with this exit code."""
    print(f"kube-upgrade: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps(no_verdict(message)), flush=True)
    raise typer.Exit(code)
