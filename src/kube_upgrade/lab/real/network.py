"""The nodes' network: the lab's own network namespace is the router, a bridge with one veth for each node.

There is no DNS and no way out. The namespace goes with the last process in it, and everything below with it.
"""

import subprocess
from contextlib import suppress
from pathlib import Path

from kube_upgrade.lab.real import kernel

GATEWAY = "172.30.0.1"
PREFIX = 24
POD_PREFIX = "10.244"
SERVICES = "10.96.0.0/16"
BRIDGE = "br0"


def enter() -> None:
    """Put the caller and all that it starts from now on into a new network with the bridge in it."""
    kernel.unshare(kernel.CLONE_NEWNET)
    _ip("link", "set", "lo", "up")
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("addr", "add", f"{GATEWAY}/{PREFIX}", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def address(number: int) -> str:
    """Of the node with this number."""
    return f"172.30.0.{number}"


def pods(number: int) -> str:
    """The pods' network on this node."""
    return f"{POD_PREFIX}.{number}.0/24"


def plug_in(number: int, pid: int) -> None:
    """Give the node whose PID 1 is `pid` its network card, eth0, and route its pods there.

    The card keeps its hardware address over reboots, as a real one: peers get an answer at once.
    """
    card = f"node{number}"
    with suppress(subprocess.CalledProcessError):
        _ip("link", "del", card)  # the kernel may not have dropped that of the last start yet
    peer = ("peer", "name", "eth0", "address", f"02:00:ac:1e:00:{number:02x}", "netns", str(pid))
    _ip("link", "add", card, "type", "veth", *peer)
    _ip("link", "set", card, "master", BRIDGE)
    _ip("link", "set", card, "up")
    _ip("route", "replace", pods(number), "via", address(number))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
