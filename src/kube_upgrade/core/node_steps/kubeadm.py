"""Step 3: which kubeadm command may run here, and when. kubeadm itself guards no order and no patch downgrade."""

from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.failure import attempt, give_up
from kube_upgrade.core.node_steps.lock import confirmed
from kube_upgrade.model.host import HostSnapshot
from kube_upgrade.model.node import KubeadmRole
from kube_upgrade.model.step import AwaitKubeadm, RunKubeadm, SnapshotEtcd, Step, Wait, Why
from kube_upgrade.model.version import KubeVersion

WITHOUT_EFFECT = "kubeadm-effect"  # counts runs that ended with 0 and left the static pod files as they were


def still_runs(seen: HostSnapshot) -> Step | None:
    """kubeadm outlives this daemon: while one runs nothing else is done here, whatever is wanted by now.

    One that ended while nobody looked is taken down, where it is the run that the facts know of.
    """
    job, run = seen.kubeadm_job, seen.facts.kubeadm
    if job is None:
        return None
    unseen = run is not None and run.ended is None and run.key == job.key and job.code is not None
    return AwaitKubeadm(key=job.key) if job.running or unseen else None


def role(case: Case) -> KubeadmRole:
    """What the controller ordered; upstream's controller orders nothing, and then:

    a control plane applies while kubeadm-config differs from the target, or its own apply to it did not end with 0.
    A worker always runs `node`.
    """
    if case.goal.kubeadm is not None:
        return case.goal.kubeadm
    if not case.seen.control_plane:
        return KubeadmRole.NODE
    run = case.facts.kubeadm
    unfinished = run is not None and run.version == case.goal.version and run.role is KubeadmRole.APPLY
    differs = case.seen.cluster_version != case.goal.version
    return KubeadmRole.APPLY if differs or unfinished else KubeadmRole.NODE


def binary(case: Case) -> str | None:
    """The path of the first kubeadm found that is of exactly the target's version."""
    return next((found.path for found in case.seen.kubeadms if found.version == case.goal.version), None)


def permitted(case: Case) -> Step | None:
    """What must hold before the node is taken out of service for kubeadm, and at each look until it runs."""
    version = case.goal.version
    if case.kubeadm_done or version is None:
        return None
    wanted = role(case)
    if wanted is KubeadmRole.APPLY and not case.seen.control_plane:
        return give_up(case, Why.APPLY_ON_WORKER, "ordered to run `kubeadm upgrade apply`, but this is a worker")
    cluster = case.seen.cluster_version
    soon = case.now + case.seen.rules.poll
    if cluster is None or not case.seen.api_reachable:
        return Wait(reason=Why.API_AWAY, message="cannot read ConfigMap kube-system/kubeadm-config", until=soon)
    if wanted is KubeadmRole.NODE and cluster != version:
        message = f"kubeadm-config is at {cluster}: waiting for the first control plane to bring it to {version}"
        return Wait(reason=Why.CLUSTER_BEHIND, message=message, until=soon)
    if wanted is KubeadmRole.APPLY and (wrong := _wrong_step(case, cluster, version)):
        return give_up(case, Why.VERSION_PATH, wrong)
    return None if binary(case) else give_up(case, Why.KUBEADM_VERSION, _no_binary(case, version))


def etcd_lives(case: Case) -> Step | None:
    """After a kubeadm that failed, etcd's own health counts and not what kubeadm said of it.

    An old etcd does not start over data that a new one has touched: another run of kubeadm cannot help
    (domain.md 4.10).
    """
    run = case.facts.kubeadm
    failed = run is not None and run.version == case.goal.version and run.ended is not None and not run.succeeded
    if not failed or not case.seen.control_plane or case.seen.health.etcd is not False:
        return None
    message = (
        "etcd of this node is not healthy after a failed kubeadm. Ways back: put kubeadm's own copy "
        "(/etc/kubernetes/tmp/kubeadm-backup-etcd-*/etcd/member) in the place of /var/lib/etcd/member; or restore "
        f"{case.facts.etcd_snapshot or 'a snapshot'} with etcdutl: docs/reference/etcd.md"
    )
    return give_up(case, Why.ETCD_DOWN, message, case.now + case.seen.rules.poll)


def _wrong_step(case: Case, cluster: KubeVersion, version: KubeVersion) -> str:
    """Why the cluster may not go from here to there; empty where it may.

    A downgrade passes only by our controller's explicit order, which the plan's allowDowngrade stands behind.
    """
    minors = version.minors_above(cluster)
    if minors > 1:
        return f"from {cluster} to {version} skips a minor"
    if version < cluster and case.goal.kubeadm is None:
        return f"from {cluster} to {version} is a downgrade"
    return f"from {cluster} to {version} goes back more than one minor" if minors < -1 else ""


def _no_binary(case: Case, version: KubeVersion) -> str:
    found = ", ".join(f"{found.path} is {found.version or 'unreadable'}" for found in case.seen.kubeadms)
    return f"no kubeadm of {version}: {found or 'none found'}"


def snapshot_etcd(case: Case) -> Step | None:
    """etcd is saved before `apply`, the cluster's first change, with the node already empty."""
    version = case.goal.version
    if case.kubeadm_done or version is None or role(case) is not KubeadmRole.APPLY or case.facts.etcd_for == version:
        return None
    run = case.facts.kubeadm
    if run is not None and run.version == version:
        return None  # a snapshot of a half-upgraded etcd is no way back
    return attempt(case, "etcd", SnapshotEtcd(version=version))


def run(case: Case) -> Step | None:
    """The command. One that nobody saw the end of, or that had no effect, is run again: kubeadm's own remedy.

    Only the first run rests on a fresh yes of the lock server: that one may be down because of a half-done upgrade.
    """
    version, found = case.goal.version, binary(case)
    if case.kubeadm_done or version is None or found is None:
        return None
    name = WITHOUT_EFFECT if ended_well(case) else "kubeadm"
    step = attempt(case, name, RunKubeadm(role=role(case), version=version, kubeadm=found))
    return confirmed(case, step) if isinstance(step, RunKubeadm) and not case.committed else step


def ended_well(case: Case) -> bool:
    """True where kubeadm ended with 0 for this version, whatever it did."""
    run = case.facts.kubeadm
    return run is not None and run.version == case.goal.version and run.succeeded
