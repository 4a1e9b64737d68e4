"""kube-upgrade lab --real: the same on real kubeadm nodes."""

import json
import signal
import sys
import threading
from collections.abc import Mapping
from typing import NoReturn

import typer

from kube_upgrade.kube.errors import KubeError
from kube_upgrade.lab.binaries import NoBinaries
from kube_upgrade.lab.real.capabilities import Incapable
from kube_upgrade.lab.real.cluster import RealCluster
from kube_upgrade.lab.real.node import NodeFailed
from kube_upgrade.lab.real.outcome import RealOutcome, text, to_json
from kube_upgrade.lab.real.run import Wishes, run_real
from kube_upgrade.lab.real.scenarios import SCENARIOS
from kube_upgrade.lab.real.tools import NoTools
from kube_upgrade.lab.runs import RunError

FAILED, USAGE, BROKEN = 1, 2, 4


def refuse_with_real(given: Mapping[str, object]) -> None:
    """Options that a scenario on real nodes decides itself."""
    for name, value in given.items():
        if value is not None:
            _leave(f"{name} {value}: with --real the scenario decides that; scenarios: {', '.join(SCENARIOS)}", USAGE)


def lab_real(name: str, control_planes: int | None, workers: int | None, *, keep: bool, json_only: bool) -> int:
    """Run a scenario on real nodes. Exit code: 0 all as the scenario says, 1 not so, 2 no such scenario, 4 broken."""
    if name not in SCENARIOS:
        _leave(f"scenario {name!r} is none of {', '.join(SCENARIOS)}", USAGE)

    def conclude(cluster: RealCluster, outcome: RealOutcome) -> None:
        print(json.dumps(to_json(outcome)) if json_only else f"\n{text(outcome)}", flush=True)
        if keep:
            kubectl = f"{cluster.kubectl_program} --kubeconfig {cluster.kubeconfig}"
            enter = f"nsenter --net --target {cluster.first.pid}"
            print(f"kept until Ctrl-C; {enter} {kubectl} get nodes", file=sys.stderr, flush=True)
            threading.Event().wait()

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # taken down like Ctrl-C: orderly
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has started it in the background
    wishes = Wishes(
        scenario=SCENARIOS[name],
        control_planes=control_planes or 1,
        workers=1 if workers is None else workers,
        conclude=conclude,
    )
    try:
        return FAILED if run_real(wishes).failure else 0
    except (Incapable, NoTools, NoBinaries, NodeFailed, RunError, KubeError) as error:
        _leave(str(error), BROKEN)


def _leave(message: str, code: int) -> NoReturn:
    print(f"kube-upgrade: {message}", file=sys.stderr)
    raise typer.Exit(code)
