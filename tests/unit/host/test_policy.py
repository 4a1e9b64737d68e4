"""Whether the host's policy would let an unsigned image through is read as rpm-ostreed reads it."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from kube_upgrade.host.policy import COREOS_POLICY, POLICY, accepts_anything, policy_file

STREAM = "ghcr.io/heathcliff26/fcos-k8s"
ANYTHING, SIGNED = {"type": "insecureAcceptAnything"}, {"type": "sigstoreSigned", "keyPath": "/k"}
FEDORA = {"": [ANYTHING], "quay.io/fedora/fedora-coreos": [{"type": "signedBy"}]}
DROP_IN = "usr/lib/systemd/system/rpm-ostreed.service.d/coreos-containers-policy.conf"


def write(root: Path, name: str, docker: Mapping[str, object], default: object = None) -> None:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    policy = {"default": [{"type": "reject"}] if default is None else default, "transports": {"docker": docker}}
    path.write_text(json.dumps(policy))


def write_drop_in(root: Path) -> None:
    (root / DROP_IN).parent.mkdir(parents=True)
    (root / DROP_IN).write_text("[Service]\nBindReadOnlyPaths=…\n")


def test_coreos_lets_anything_of_other_registries_through_whatever_etc_says(tmp_path: Path) -> None:
    write(tmp_path, COREOS_POLICY, FEDORA)
    write(tmp_path, POLICY, {STREAM: [SIGNED]})
    write_drop_in(tmp_path)
    assert policy_file(tmp_path) == COREOS_POLICY
    anything, rule = accepts_anything(tmp_path, STREAM)
    assert anything
    assert rule == f'{COREOS_POLICY}, transports.docker[""]: insecureAcceptAnything'
    assert not accepts_anything(tmp_path, "quay.io/fedora/fedora-coreos")[0]


def test_with_the_drop_in_masked_the_hosts_own_counts(tmp_path: Path) -> None:
    write(tmp_path, COREOS_POLICY, FEDORA)
    write(tmp_path, POLICY, {STREAM: [SIGNED]})
    write_drop_in(tmp_path)
    mask = tmp_path / DROP_IN.replace("usr/lib", "etc")
    mask.parent.mkdir(parents=True)
    mask.symlink_to("/dev/null")
    assert policy_file(tmp_path) == POLICY
    assert not accepts_anything(tmp_path, STREAM)[0]


@pytest.mark.parametrize(
    ("docker", "default", "anything"),
    [
        ({STREAM: [SIGNED]}, [ANYTHING], False),
        ({"ghcr.io/heathcliff26": [SIGNED], "ghcr.io": [ANYTHING]}, None, False),
        ({"ghcr.io/heathcliff26/other": [SIGNED]}, [ANYTHING], True),
        ({"ghcr.io": [ANYTHING]}, None, True),
        ({}, None, False),
    ],
)
def test_the_most_special_scope_counts(
    tmp_path: Path, docker: dict[str, object], default: object, anything: bool
) -> None:
    write(tmp_path, POLICY, docker, default)
    assert accepts_anything(tmp_path, STREAM)[0] is anything


@pytest.mark.parametrize("text", [None, "{", "[]", '{"transports": {"docker": {"": [3]}}}', "{}"])
def test_a_policy_that_cannot_be_read_protects_nobody(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / POLICY.lstrip("/")).parent.mkdir(parents=True)
        (tmp_path / POLICY.lstrip("/")).write_text(text)
    assert accepts_anything(tmp_path, STREAM)[0]
