"""What daemon and doctor share of the host: where facts lie, and what drives its images."""

from kube_upgrade.host.bootc import Bootc
from kube_upgrade.host.drivers import OsDriver
from kube_upgrade.host.jobs import Jobs
from kube_upgrade.host.paths import on_host
from kube_upgrade.host.rpm_ostree import RpmOstree
from kube_upgrade.host.runner import CommandRunner
from kube_upgrade.upgraded.settings import Settings

STATE = "/var/lib/kube-upgraded"


def os_driver(settings: Settings, runner: CommandRunner, jobs: Jobs) -> OsDriver:
    """rpm-ostree where the host has it; bootc only where it is absent."""
    root, ostree = settings.root, settings.ostree
    if not on_host(root, settings.rpm_ostree).exists() and on_host(root, settings.bootc).exists():
        return Bootc(
            runner, jobs, root=root, path=settings.bootc, ostree_path=ostree, systemctl_path=settings.systemctl
        )
    return RpmOstree(runner, jobs, root=root, path=settings.rpm_ostree, ostree_path=ostree)
