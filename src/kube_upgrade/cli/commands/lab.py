"""kube-upgrade lab: a whole cluster on this machine goes one minor up, judged from outside."""

import json
import re
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from kube_upgrade.cli.commands.lab_real import lab_real, refuse_with_real
from kube_upgrade.cli.leave import BROKEN, INTERRUPTED, USAGE, leave
from kube_upgrade.kube.errors import KubeError
from kube_upgrade.lab import data
from kube_upgrade.lab.binaries import NoBinaries
from kube_upgrade.lab.cluster import PROGRAMS, Lab, LabFailed
from kube_upgrade.lab.control_plane import KubectlFailed
from kube_upgrade.lab.main import Wishes, run_lab
from kube_upgrade.lab.outcome import EXIT, Outcome, no_verdict
from kube_upgrade.lab.processes import StartFailed
from kube_upgrade.lab.runs import RunError
from kube_upgrade.lab.scenario import BadScenario, Scenario, adapt, load
from kube_upgrade.lab.show import Show

AS_JSON = re.compile(r"(^| )(-o ?|--output[ =])json( |$)")

Program = StrEnum("Program", {name.upper().replace("-", "_"): name for name in PROGRAMS})  # type: ignore[misc]


class Output(StrEnum):
    """Forms of the result."""

    TEXT = "text"
    JSON = "json"


class LabCommand(TyperCommand):
    """The lab's options; where they are wrong and `-o json` is among them, a machine is told as well."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As ever. Raises TyperException."""
        given = " ".join(args)
        try:
            return super().parse_args(ctx, args)
        except TyperException as wrong:
            if AS_JSON.search(given):
                print(json.dumps(no_verdict(wrong.format_message())), flush=True)
            raise


def lab(
    control_planes: Annotated[int | None, typer.Option(help="Number of control planes (3, or the scenario's).")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of workers (3, or the scenario's).")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Version the cluster has (v1.36.3).")] = None,
    target: Annotated[str | None, typer.Option("--to", help="Version the plan asks for (v1.37.2).")] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="A file like those in scenarios/ (default.yaml); with --real a name.")
    ] = None,
    real: Annotated[bool, typer.Option("--real", help="Real kubeadm nodes; needs root on Linux.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it up until Ctrl-C, its folder for good.")] = False,
    without: Annotated[Program | None, typer.Option(help="Start all but this program, and say what it needs.")] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="Form of the result on stdout.")] = Output.TEXT,
) -> None:
    """Upgrade a cluster on this machine: a real etcd and kube-apiserver, simulated hosts, every program ours.

    Exit codes: 0 the judge saw every bound held and every node proven at the target; 1 failed;

    2 wrong options or scenario; 3 unproven: a watch was lost, or an event of the scenario never came up;

    4 the lab itself could not run; 130 Ctrl-C before the verdict.

    With -o json the last line of stdout is one object, whatever the code: `result`, and `error` without a verdict.
    """
    if real:
        as_json = output is Output.JSON
        refuse_with_real({"--from": start, "--to": target, "--without": without}, as_json=as_json)
        raise typer.Exit(lab_real(str(scenario or "default"), control_planes, workers, keep=keep, json_only=as_json))
    try:
        path = scenario or data.folder("scenarios") / "default.yaml"
        wanted = adapt(load(path), control_planes=control_planes, workers=workers, start=start, target=target)
    except (BadScenario, FileNotFoundError) as bad:
        leave(str(bad), USAGE, as_json=output is Output.JSON)
    raise typer.Exit(EXIT[_run(wanted, keep=keep, without=without, output=output).result])


def _run(wanted: Scenario, *, keep: bool, without: str | None, output: Output) -> Outcome:
    talk = sys.stderr if output is Output.JSON else sys.stdout
    said: list[Outcome] = []

    def announce(ready: Lab) -> None:
        print(f"kubeconfig: {ready.plane.admin_kubeconfig}", file=talk)
        if without:
            print(json.dumps(ready.hand_over(), indent=2), file=talk, flush=True)
        if output is Output.TEXT:
            _kubectl(ready, "nodes")

    def conclude(done: Lab, outcome: Outcome) -> None:
        said.append(outcome)
        if output is Output.TEXT:
            _kubectl(done, "plan")
            _kubectl(done, "nodes")
            print(f"\n{outcome.text()}", flush=True)
        else:
            print(json.dumps(outcome.to_json()), flush=True)
        if keep:
            print(f"kept: {done.run.folder}; Ctrl-C ends the cluster", file=sys.stderr, flush=True)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # taken down like Ctrl-C: orderly
    wishes = Wishes(scenario=wanted, show=Show(), keep=keep, without=without, announce=announce, conclude=conclude)
    return _told(wishes, output, said)


def _told(wishes: Wishes, output: Output, said: list[Outcome]) -> Outcome:
    """Run, and leave with words where that goes wrong. Ctrl-C after the verdict is none: the reaper does the rest."""
    try:
        return run_lab(wishes)
    except BadScenario as bad:
        leave(str(bad), USAGE, as_json=output is Output.JSON)
    except (LabFailed, StartFailed, NoBinaries, RunError, KubectlFailed, KubeError) as error:
        leave(str(error), BROKEN, as_json=output is Output.JSON and not said)
    except KeyboardInterrupt:
        if not said:
            leave("interrupted", INTERRUPTED, as_json=output is Output.JSON)
        return said[-1]


def _kubectl(ready: Lab, what: str) -> None:
    print(f"\n$ kubectl get {what}", flush=True)
    print(ready.plane.kubectl("get", what), end="", flush=True)
