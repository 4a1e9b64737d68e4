"""Bad kubeconfigs are named with file and reason, never with their content; rotation is noticed through links."""

import json
from pathlib import Path
from typing import Any

import pytest

from kube_upgrade.kube.credentials import load
from kube_upgrade.kube.errors import BadKubeconfig

SECRET = "eyJhbGciOi.secret"


def a_kubeconfig(**user: str) -> dict[str, Any]:
    return {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


def written(folder: Path, content: object) -> Path:
    path = folder / "kubelet.conf"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (a_kubeconfig(token=SECRET) | {"current-context": "y"}, "Context 'y' not found"),
        (a_kubeconfig(token=SECRET) | {"clusters": []}, "'c' is missing or named but not defined"),
        ({"users": [{"name": "u", "user": {"token": SECRET}}]}, "'clusters' is missing"),
        (f"users:\n- token: {SECRET}\n  bad: [", "no valid YAML in line 3"),
        ("", "not usable as a kubeconfig"),
    ],
)
def test_a_bad_kubeconfig_is_named_without_its_secrets(tmp_path: Path, content: object, reason: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(BadKubeconfig, match=reason) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadKubeconfig, match="nowhere not found"):
        load(tmp_path / "nowhere")


def test_a_certificate_behind_a_link_is_noticed_when_the_link_moves(tmp_path: Path) -> None:
    """As the kubelet rotates: kubelet-client-current.pem points to another file."""
    for name in ("old.pem", "new.pem"):
        (tmp_path / name).write_text(name)
    current = tmp_path / "current.pem"
    current.symlink_to("old.pem")
    pem = str(current)
    found = load(written(tmp_path, a_kubeconfig(**{"client-certificate": pem, "client-key": pem})))
    assert not found.changed()
    moved = tmp_path / "moved"
    moved.symlink_to("new.pem")
    moved.rename(current)
    assert found.changed()


def test_a_new_server_in_the_file_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, a_kubeconfig())
    found = load(path)
    fresh = tmp_path / "fresh"
    fresh.write_text(path.read_text().replace("6443", "6444"))
    fresh.rename(path)
    assert found.changed()
    assert load(path).config.cluster.server == "https://127.0.0.1:6444"


def test_relative_files_are_beside_the_kubeconfig(tmp_path: Path) -> None:
    found = load(written(tmp_path, a_kubeconfig(tokenFile="token")))
    assert [name for name, *_ in found.files] == [str(tmp_path / "kubelet.conf"), str(tmp_path / "token")]
