"""What `upgraded doctor` says of a stand-in node, asked as a person asks it: program, words and exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kube_upgrade.lab import machine_state as rules
from kube_upgrade.lab.machine import Machine, a_tree
from kube_upgrade.upgraded.lock import only_daemon, running

GOLDEN = Path(__file__).parents[2] / "docs/doctor.txt"
STREAM = "ghcr.io/heathcliff26/fcos-k8s"
IMAGE = f"ostree-unverified-registry:{STREAM}:v1.36.3"
SETTINGS = {
    "kubeletHealth": "", "apiServer": "", "etcd": "", "stream": STREAM, "fleetlockUrl": "http://127.0.0.1:9",
}  # fmt: skip


@pytest.fixture
def node(tmp_path: Path) -> Machine:
    return Machine.create(tmp_path / "w-1", "w-1", image=IMAGE, version="v1.36.3", digest="sha256:" + "1" * 64)


def ask(node: Machine, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run `upgraded` against this disk."""
    config = node.folder / "config.yaml"
    config.write_text(yaml.safe_dump({"root": str(node.root), **SETTINGS, **settings}))
    argv = [sys.executable, "-m", "kube_upgrade.upgraded", "-c", str(config), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    """Messages of what is not ok, by check."""
    found: dict[str, list[str]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        if finding["level"] != "ok":
            found.setdefault(finding["check"], []).append(f"{finding['level']}: {finding['message']}")
    return found


def stage_unlocked(node: Machine) -> None:
    with node.edit() as state:
        tree = a_tree("fedora-coreos", IMAGE.replace("36.3", "37.2"), "sha256:" + "2" * 64, "v1.37.2")
        rules.stage(state, tree, locked=False)


def test_a_node_with_five_faults_is_told_each_and_what_to_do(node: Machine, request: pytest.FixtureRequest) -> None:
    """The transcript is docs/doctor.txt; regenerate with --update-golden and read what changed."""
    stage_unlocked(node)
    with node.edit() as state:
        state.driver = ("Zincati", "zincati.service")
    done = ask(node, "doctor", verification={"keys": ["/etc/pki/containers/fcos-k8s.pub"]})
    told = done.stdout.replace(str(node.folder), "").replace(node.machine_id, "dfd7882acda64c34aca76193c46f5d4e")
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(f"$ upgraded doctor\n{told}")

    assert f"$ upgraded doctor\n{told}" == GOLDEN.read_text()
    assert done.returncode == 1
    assert told.rstrip().splitlines()[-1] == "5 faults, 2 warnings"


def test_the_same_as_json(node: Machine) -> None:
    stage_unlocked(node)
    done = ask(node, "doctor", "-o", "json")
    found = json.loads(done.stdout)
    assert found["faults"] == sum(finding["level"] == "fault" for finding in found["findings"]) == 3
    assert {"check", "level", "message", "advice"} == set(found["findings"][0])
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("break_it", "settings", "check", "words"),
    [
        (lambda n: (n.root / "etc/machine-id").write_text("uninitialized\n"), {}, "identity", "fault: "),
        (lambda n: (n.root / "usr/bin/rpm-ostree").unlink(), {}, "os", "fault: "),
        (lambda n: (n.root / "usr/bin/kubeadm").unlink(), {}, "kubeadm", "cannot be started: No such file"),
        (lambda n: None, {"allowedStreams": ["quay.io/mine"]}, "stream", "is not among allowedStreams: quay.io/mine"),
        (lambda n: None, {"stream": "quay.io/other"}, "stream", "warning: runs an image of ghcr.io/heathcliff26/fcos"),
        (lambda n: None, {"fleetlockUrl": None}, "lock", "fleetlockUrl is set neither in the plan nor"),
        (lambda n: None, {"fleetlockCa": "/no/such.pem"}, "lock", "no/such.pem"),
        (lambda n: None, {}, "signatures", "warning: nobody checks any: an unsigned image of ghcr.io"),
        (lambda n: None, {"kubeletHealth": "http://127.0.0.1:9/"}, "kubelet", "does not say that it is healthy"),
    ],
)
def test_each_fault_is_found_by_itself(
    node: Machine, break_it: Callable[[Machine], None], settings: dict[str, object], check: str, words: str
) -> None:
    break_it(node)
    assert words in " ".join(findings(ask(node, "doctor", "-o", "json", **settings))[check])


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        (404, "fault", "HTTP 404"),
        (500, "fault", "HTTP 500"),
        (503, "fault", "HTTP 503"),
        (405, "ok", "something answers"),
        (401, "ok", "something answers"),
    ],
)
def test_not_every_answer_is_a_lock_servers(node: Machine, status: int, level: str, words: str) -> None:
    """A wrong path prefix, a proxy in front of nothing: no slot would ever come from there. It is asked for none."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        done = ask(node, "doctor", "-o", "json", fleetlockUrl=f"http://127.0.0.1:{server.server_port}/SECRET")
        server.shutdown()
    (found,) = (finding for finding in json.loads(done.stdout)["findings"] if finding["check"] == "lock")
    assert found["level"] == level
    assert words in found["message"]
    assert asked == ["/SECRET/v1/pre-reboot"]
    assert "SECRET" not in done.stdout


def test_a_key_that_no_signature_can_be_made_for_is_a_fault(node: Machine) -> None:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    keys = {
        "ec": ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(serialization.Encoding.PEM, kind),
        "rsa": rsa.generate_private_key(65537, 2048).public_key().public_bytes(serialization.Encoding.PEM, kind),
        "cut": b"-----BEGIN PUBLIC KEY-----\nMFkw\n",
    }
    for name, text in keys.items():
        (node.root / f"etc/{name}.pub").write_bytes(text)
    wrong = findings(ask(node, "doctor", "-o", "json", verification={"keys": [f"/etc/{name}.pub" for name in keys]}))
    rsa_key, cut = wrong["signatures"]
    assert "/etc/rsa.pub: not an ECDSA key" in rsa_key
    assert "/etc/cut.pub: no PEM public key" in cut


def test_a_daemon_that_runs_is_seen_without_touching_its_lock(node: Machine) -> None:
    path = node.root / "var/lib/kube-upgraded/lock"
    with only_daemon(path):
        assert "daemon" not in findings(ask(node, "doctor", "-o", "json"))
        assert running(path) == os.getpid()
    assert running(path) is None
    assert findings(ask(node, "doctor", "-o", "json"))["daemon"] == ["warning: no upgraded runs on this node"]


def test_a_state_file_that_is_unreadable_or_tells_of_failures_is_shown(node: Machine) -> None:
    state = node.root / "var/lib/kube-upgraded/state.json"
    state.parent.mkdir(parents=True, exist_ok=True)
    tried = {"count": 5, "last": "2026-11-24T08:00:00+00:00", "reason": "ImagePull", "message": "manifest unknown"}
    state.write_text(json.dumps({"schema": 1, "tries": {"stage": tried}}))
    (told,) = findings(ask(node, "doctor", "-o", "json"))["state"]
    assert told == "warning: stage failed 5 times, the last time: ImagePull: manifest unknown"
    state.write_text("{")
    (told,) = findings(ask(node, "doctor", "-o", "json"))["state"]
    assert told.startswith("fault: ")
    assert state.read_text() == "{", "doctor only looks"


def test_bad_settings_are_the_first_fault(node: Machine) -> None:
    done = ask(node, "doctor", drain="maybe")
    assert done.returncode == 1
    assert "FAULT" in done.stdout
    assert "drain: 'maybe' is none of wait, none" in done.stdout


def test_check_config_says_whether_the_daemon_would_start(node: Machine) -> None:
    good = ask(node, "check-config", "-o", "json")
    assert (good.returncode, json.loads(good.stdout)["wrong"]) == (0, None)
    bad = ask(node, "check-config", attempts=0)
    assert bad.returncode == 1
    assert "attempts: 0 is not a whole number from 1 up" in bad.stdout


def test_version_in_words_and_as_json(node: Machine) -> None:
    words = ask(node, "version").stdout.strip()
    assert json.loads(ask(node, "version", "-o", "json").stdout) == {"version": words}
