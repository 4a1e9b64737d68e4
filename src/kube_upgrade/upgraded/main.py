"""`upgraded [--config PATH]` and `upgraded version`; the rest is imported only by a daemon that runs."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="upgraded", description="Upgrades this node when its plan says so.")
    parser.add_argument(
        "--config",
        "-c",
        type=Path,
        default=Path("/etc/kube-upgraded/config.yaml"),
        help="settings of this host (default: %(default)s)",
    )
    parser.add_argument("command", nargs="?", choices=["version"], help="print the version and exit")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["check-signature"]:  # asked by the daemon, of a process that may grow and then ends
        from kube_upgrade.host.signature import main as check_signature  # noqa: PLC0415

        sys.exit(check_signature(words[1:]))
    given = parser.parse_args(words)
    if given.command == "version":
        print(version("kube-upgrade"))  # noqa: T201 - what was asked for
        return
    # structlog imports rich where it is installed, for tracebacks in colours: 5 MiB that a daemon does not need.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None there means: not to be imported
    from kube_upgrade.upgraded.daemon import start  # noqa: PLC0415

    start(given.config)


if __name__ == "__main__":
    main()
