"""rpm-ostree over the machine's state: status, rebase, deploy, finalize-deployment, cleanup (domain.md 3.1 to 3.8)."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from kube_upgrade.lab import machine_state as rules
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Refused, State
from kube_upgrade.lab.standins.common import Command, options_of, run
from kube_upgrade.lab.standins.rpm_ostree_status import status_json, status_text

_UNCHANGED = 77
_REGISTER = "--register-driver="


def status(machine: Machine, arguments: Sequence[str]) -> int:
    """All deployments; with --booted only the running one."""
    options, _ = options_of(arguments)
    state = machine.read()
    raw = status_json(state, machine.running_transaction())
    if options & {"--booted", "-b"}:
        raw["deployments"] = [tree for tree in raw["deployments"] if tree["booted"]]
    print(json.dumps(raw, indent=2) if "--json" in options else status_text(raw))
    return _UNCHANGED if "--pending-exit-77" in options and state.first.id != state.booted else 0


def rebase(machine: Machine, arguments: Sequence[str]) -> int:
    """`rebase REFSPEC [REVISION]`: another origin, pinned to a digest where a revision is given."""
    options, words = options_of(arguments)
    _refuse_beside_driver(machine.read(), options)
    if not 1 <= len(words) <= 2:
        raise Refused("REFSPEC must be specified")
    if words[0] == machine.read().first.image:
        raise Refused(f"Old and new refs are equal: {words[0]}")
    return _pull_and_stage(machine, words[0], words[1] if len(words) == 2 else None, "rebase", options)


def deploy(machine: Machine, arguments: Sequence[str]) -> int:
    """`deploy REVISION`: another digest of the same origin. Without a revision it only registers a driver."""
    options, words = options_of(arguments)
    revision = next((word for word in words if word), "")
    _refuse_beside_driver(machine.read(), options)
    if driver := next((option for option in options if option.startswith(_REGISTER)), None):
        with machine.edit() as state:
            name = driver.removeprefix(_REGISTER)
            state.driver = (name, f"{name}.service")
        if not revision:
            print("Empty string revision found; registering update driver only")
            return 0
    if not revision:
        raise Refused("REVISION must be specified")
    first = machine.read().first
    if revision == first.digest:
        print("No change.")
        return _UNCHANGED if "--unchanged-exit-77" in options else 0
    return _pull_and_stage(machine, first.image, revision, "deploy", options)


def finalize_deployment(machine: Machine, arguments: Sequence[str]) -> int:
    """Unlock what is staged and reboot. No driver is asked."""
    options, words = options_of(arguments)
    if not words and "--allow-missing-checksum" not in options:
        raise Refused("Either CHECKSUM or --allow-missing-checksum must be specified")
    with machine.transaction("finalize-deployment"), machine.edit() as state:
        rules.unlock_to_finalize(state, words[0] if words else None, allow_unlocked="--allow-unlocked" in options)
    fault = machine.take_fault("finalize")
    if fault is None or fault.mode != "no-reboot":
        machine.request_reboot()
    return 0


def cleanup(machine: Machine, arguments: Sequence[str]) -> int:
    """`cleanup -p` forgets what is pending, `-r` the rollback, `-b` and `-m` only caches."""
    options, _ = options_of(arguments)
    known = {"-p", "--pending", "-r", "--rollback", "-b", "--base", "-m", "--repomd"}
    if not options & known:
        raise Refused("At least one cleanup option must be specified")
    with machine.transaction("cleanup"), machine.edit() as state:
        if options & {"-p", "--pending"}:
            rules.cleanup_pending(state)
        if options & {"-r", "--rollback"}:
            rules.cleanup_rollback(state)
    print("Deployments unchanged." if not options & {"-p", "-r", "--pending", "--rollback"} else "Freed: 0 bytes")
    return 0


def cancel(machine: Machine, arguments: Sequence[str]) -> int:
    """Nothing to cancel, or the transaction of another process, which is left alone."""
    if running := machine.running_transaction():
        raise Refused(f"{running} cannot be cancelled here; end its process")
    print("No active transaction.")
    return 0


def _pull_and_stage(machine: Machine, image: str, revision: str | None, verb: str, options: set[str]) -> int:
    from kube_upgrade.lab.standins.pull import pull  # noqa: PLC0415 - HTTP takes as long to import as all else

    with machine.transaction(f"{verb} {image} {revision or ''}".strip()):
        print(f"Pulling manifest: {image}")
        pulled = pull(image, revision)
        time.sleep(machine.read().latency.get("stage", 0.0))
        machine.stage(image, pulled.digest, pulled.kubernetes, locked="--lock-finalization" in options)
    print("Staging deployment...done")
    if options & {"--reboot", "-r"}:
        machine.request_reboot()
    else:
        print('Changes queued for next boot. Run "systemctl reboot" to start a reboot')
    return 0


def _refuse_beside_driver(state: State, options: set[str]) -> None:
    if state.driver is not None and "--bypass-driver" not in options:
        name, unit = state.driver
        raise Refused(
            f"Updates and deployments are driven by {name} ({unit})\n"
            f"See {name}'s documentation\n"
            f"Use --bypass-driver to bypass {name} and perform the operation anyways"
        )


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "status": status,
        "rebase": rebase,
        "deploy": deploy,
        "finalize-deployment": finalize_deployment,
        "cleanup": cleanup,
        "cancel": cancel,
    }
)


def rpm_ostree(machine: Machine, arguments: Sequence[str]) -> int:
    """One of COMMANDS."""
    verb = arguments[0] if arguments else ""
    if command := COMMANDS.get(verb):
        return command(machine, arguments[1:])
    print(f"error: Unknown command '{verb}'", file=sys.stderr)
    return 1


if __name__ == "__main__":
    run("rpm-ostree", rpm_ostree)
