"""kube-upgrade lab --real: the same on real kubeadm nodes."""

import json
import signal
import sys
import threading
from collections.abc import Mapping

from kube_upgrade.cli.leave import BROKEN, INTERRUPTED, USAGE, leave
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


def refuse_with_real(given: Mapping[str, object], *, as_json: bool) -> None:
    """Options that a scenario on real nodes decides itself."""
    for name, value in given.items():
        if value is not None:
            known = ", ".join(SCENARIOS)
            leave(f"{name} {value}: with --real the scenario decides that; scenarios: {known}", USAGE, as_json=as_json)


def lab_real(name: str, control_planes: int | None, workers: int | None, *, keep: bool, json_only: bool) -> int:
    """Run a scenario on real nodes.

    Exit code: 0 all as the scenario says, 1 not so, 2 no such scenario, 3 nobody saw all of it, 4 broken.
    """
    if name not in SCENARIOS:
        leave(f"scenario {name!r} is none of {', '.join(SCENARIOS)}", USAGE, as_json=json_only)
    said: list[RealOutcome] = []

    def conclude(cluster: RealCluster, outcome: RealOutcome) -> None:
        said.append(outcome)
        print(f"\n{text(outcome)}", file=sys.stderr if json_only else sys.stdout, flush=True)
        if json_only:
            print(json.dumps(to_json(outcome)), flush=True)
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
        return run_real(wishes).exit_code
    except (Incapable, NoTools, NoBinaries, NodeFailed, RunError, KubeError) as error:
        leave(str(error), BROKEN, as_json=json_only and not said)
    except KeyboardInterrupt:
        if not said:
            leave("interrupted", INTERRUPTED, as_json=json_only)
        return said[-1].exit_code
