"""What the loop says of its steps."""

from dataclasses import replace

from structlog.testing import capture_logs

from kube_upgrade.telemetry import logs
from support.builders import NEW
from support.node_world import World


def test_the_lock_servers_path_stands_in_no_log_line_and_no_annotation() -> None:
    """Its prefix may be the secret that keeps others from asking."""
    logs.configure("info")
    world = World(cluster_version=NEW)
    world.config = replace(world.config, fleetlock_url="https://locks:8443/SECRET")
    world.order()
    with capture_logs() as said:
        assert world.run(until=lambda: world.done)
    steps = {line["event"]: line for line in said}
    assert steps["TakeLock"]["url"] == steps["ReleaseLock"]["url"] == "https://locks:8443"
    assert "SECRET" not in f"{said} {world.log}"
