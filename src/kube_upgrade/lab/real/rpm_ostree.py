"""rpm-ostree on a real node: the lab's stand-in over the node's own deployments."""

from kube_upgrade.lab.real.machine import RealMachine
from kube_upgrade.lab.standins.common import run
from kube_upgrade.lab.standins.rpm_ostree import rpm_ostree

if __name__ == "__main__":
    run("rpm-ostree", rpm_ostree, RealMachine)
