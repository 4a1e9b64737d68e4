"""`upgraded`: the daemon, and what a person on the node may ask. What a command needs is imported only by it."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

CONFIG = Path("/etc/kube-upgraded/config.yaml")
_COMMANDS = """
commands:
  (none)         run the daemon
  version        print the version
  check-config   read the settings; ends with 1 where they cannot be used
  doctor         say what is wrong with this node for upgrades; ends with 1 where something is
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["check-signature"]:  # asked by the daemon, of a process that may grow and then ends
        from kube_upgrade.host.signature import main as check_signature  # noqa: PLC0415

        sys.exit(check_signature(words[1:]))
    given = _parser().parse_args(words)
    # structlog imports rich where it is installed, for tracebacks in colours: 5 MiB that a daemon does not need.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None there means: not to be imported
    match given.command:
        case "version":
            _say({"version": version("kube-upgrade")}, version("kube-upgrade"), given.output)
        case "check-config":
            sys.exit(_check_config(given.config, given.output))
        case "doctor":
            sys.exit(_doctor(given.config, given.output))
        case _:
            from kube_upgrade.upgraded.daemon import start  # noqa: PLC0415

            start(given.config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="upgraded",
        description="Upgrades this node when its plan says so.",
        epilog=_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-c", "--config", type=Path, default=CONFIG, help="settings of this host (%(default)s)")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="how to answer (%(default)s)")
    parser.add_argument("command", nargs="?", choices=["version", "check-config", "doctor"], help=argparse.SUPPRESS)
    return parser


def _check_config(path: Path, output: str) -> int:
    from kube_upgrade.upgraded.settings import BadSettings, load  # noqa: PLC0415

    try:
        load(path)
    except BadSettings as error:
        _say({"path": str(path), "wrong": str(error)}, str(error), output)
        return 1
    words = f"{path} can be used" if path.exists() else f"{path} is not there: all defaults"
    _say({"path": str(path), "wrong": None}, words, output)
    return 0


def _doctor(path: Path, output: str) -> int:
    from kube_upgrade.telemetry import logs  # noqa: PLC0415
    from kube_upgrade.upgraded.doctor import examine  # noqa: PLC0415
    from kube_upgrade.upgraded.findings import as_json, fault, faults_in, in_words, ok  # noqa: PLC0415
    from kube_upgrade.upgraded.settings import BadSettings, load  # noqa: PLC0415

    logs.configure("error")
    try:
        settings = load(path)
    except BadSettings as error:
        found = [fault("config", str(error), "correct it, then try `upgraded check-config`")]
    else:
        found = [ok("config", f"{path} can be used"), *asyncio.run(examine(settings))]
    print(as_json(found) if output == "json" else in_words(found))  # noqa: T201 - what was asked for
    return 1 if faults_in(found) else 0


def _say(document: dict[str, str | None], words: str, output: str) -> None:
    print(json.dumps(document) if output == "json" else words)  # noqa: T201 - what was asked for


if __name__ == "__main__":
    main()
