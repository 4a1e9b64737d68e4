"""Every metric of the project: name, labels and meaning in one file."""

from prometheus_client import Counter, Gauge, Histogram

# --- every program -----------------------------------------------------------------------------
API_CALLS = Counter("kube_upgrade_api_calls_total", "Requests to the API server", ["verb", "resource", "code"])
API_BYTES = Counter("kube_upgrade_api_bytes_total", "Bodies sent to and received from the API server", ["direction"])

# --- upgrade-controller ------------------------------------------------------------------------
LEADER = Gauge("kube_upgrade_leader", "1 while this replica leads")
NODES = Gauge("kube_upgrade_nodes", "Nodes by group and daemon's phase", ["plan", "group", "phase"])
STATES = Gauge("kube_upgrade_plan_nodes", "Nodes of a plan by state", ["plan", "state"])
HOLDS = Gauge("kube_upgrade_holds", "Nodes that wait, by reason", ["plan", "reason"])
CLAIMS = Gauge("kube_upgrade_claims", "Open claims by group", ["plan", "group"])
OLDEST_CLAIM = Gauge("kube_upgrade_oldest_claim_timestamp_seconds", "When the oldest open claim began", ["plan"])
NODE_SECONDS = Gauge(
    "kube_upgrade_node_duration_seconds", "Learned time from kubeadm's start to proof", ["plan", "group", "quantile"]
)
RECONCILE = Histogram("kube_upgrade_reconcile_seconds", "Time from snapshot to the last action of one turn")
TURN_FAILURES = Counter("kube_upgrade_turn_failures_total", "Turns that trouble with the API server ended early")

# --- upgraded ----------------------------------------------------------------------------------
STEPS = Counter("upgraded_steps_total", "Steps taken, by name and outcome", ["step", "outcome"])
STEP_SECONDS = Histogram("upgraded_step_seconds", "Duration of a step", ["step"])

# --- fleetlock ---------------------------------------------------------------------------------
LOCK_REQUESTS = Counter("fleetlock_requests_total", "Requests by operation and kind of answer", ["operation", "kind"])
LOCK_HOLDERS = Gauge("fleetlock_holders", "Slots held", ["group"])
LOCK_SLOTS = Gauge("fleetlock_slots", "Slots configured", ["group"])
LOCK_WAITING = Gauge("fleetlock_waiting", "Requests that wait for a slot at this replica", ["group"])
OLDEST_HOLDER = Gauge("fleetlock_oldest_holder_timestamp_seconds", "Since when the oldest holder holds", ["group"])
DRAIN_BLOCKED = Gauge(
    "fleetlock_drain_blocked", "1 while this pod (and budget, if one does) holds a drain back", ["node", "pod", "pdb"]
)
DRAINS = Counter("fleetlock_drains_total", "Drains that ended, by outcome", ["outcome"])
FREED = Counter("fleetlock_freed_total", "Slots freed because their Node object was gone", ["group"])
