"""`rpm-ostree status --json` is read as rpm-ostree means it."""

import json

import pytest

from kube_upgrade.host.drivers import OsError
from kube_upgrade.host.rpm_ostree import stage_argv, wanted_reference
from kube_upgrade.host.rpm_ostree_output import parse_image, parse_status, problem_in
from kube_upgrade.model.os import ImageReference, OsProblem, UpdateDriver
from support.replay import os_status

DIGEST = "sha256:" + "a" * 64


def test_a_stock_host_has_one_deployment_and_zincati_for_driver() -> None:
    seen = parse_status(os_status("zincati").out)
    assert seen.driver == UpdateDriver("Zincati", "zincati.service")
    assert seen.booted is not None
    assert seen.booted.digest == "sha256:ca99893c80a7b84dd84d4143bd27538207c2f38ab6647a58d9c8caa251f9a087"
    assert seen.booted.image == ImageReference(
        "ostree-image-signed:docker://", "quay.io/fedora/fedora-coreos", "stable"
    )
    assert (seen.staged, seen.pending, seen.rollback, seen.transaction) == (None, None, None, "")


def test_one_tag_may_stand_for_two_images() -> None:
    seen = parse_status(os_status("two-digests-of-one-tag").out)
    assert seen.booted is not None
    assert seen.rollback is not None
    assert seen.booted.image == seen.rollback.image
    assert seen.booted.digest != seen.rollback.digest


def test_a_staged_deployment_names_the_folder_its_kubeadm_is_in() -> None:
    staged = parse_status(os_status("staged-locked").out).staged
    assert staged is not None
    assert staged.locked
    assert staged.path == f"/ostree/deploy/fedora-coreos/deploy/{staged.checksum}.0"


def test_a_rollback_is_no_failed_boot() -> None:
    seen = parse_status(os_status("booted").out)
    assert seen.rollback is not None
    assert not seen.failed_boot(seen.rollback.digest)


@pytest.mark.parametrize("transaction", [{"title": "rebase x"}, ["rebase x", "client", "/path"]])
def test_a_transaction_is_seen_in_either_form(transaction: object) -> None:
    assert parse_status(json.dumps({"deployments": [], "transaction": transaction})).transaction == "rebase x"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"deployments": [{"osname": 1}]}', "<html>"])
def test_anything_else_is_named_unreadable(text: str) -> None:
    with pytest.raises(OsError) as refused:
        parse_status(text)
    assert refused.value.kind is OsProblem.UNREADABLE


@pytest.mark.parametrize(
    ("text", "repository", "tag"),
    [
        ("ostree-unverified-registry:ghcr.io/h/fcos-k8s:v1.34.2", "ghcr.io/h/fcos-k8s", "v1.34.2"),
        ("ostree-image-signed:docker://quay.io/fedora/fedora-coreos:stable", "quay.io/fedora/fedora-coreos", "stable"),
        ("ostree-image-signed:registry:localhost:5000/os:v1", "localhost:5000/os", "v1"),
        ("ostree-remote-image:fedora:docker://quay.io/os:stable", "quay.io/os", "stable"),
        ("ostree-remote-registry:fedora:quay.io/os:stable", "quay.io/os", "stable"),
        ("ostree-unverified-registry:localhost:5000/os", "localhost:5000/os", ""),
        (f"ostree-unverified-registry:ghcr.io/h/os@{DIGEST}", "ghcr.io/h/os", ""),
        (f"ostree-unverified-registry:ghcr.io/h/os:v1@{DIGEST}", "ghcr.io/h/os", ""),
    ],
)
def test_a_reference_is_taken_apart(text: str, repository: str, tag: str) -> None:
    image = parse_image(text)
    assert (image.repository, image.tag) == (repository, tag)
    if "@" not in text:
        assert str(image) == text


def test_the_same_tag_is_deployed_and_another_one_rebased_to() -> None:
    now = wanted_reference("r.example/os:v1.36.3", unsigned=False)
    later = wanted_reference("r.example/os:v1.37.2", unsigned=False)
    assert stage_argv(now, DIGEST, now) == ("deploy", "--lock-finalization", "--bypass-driver", DIGEST)
    assert stage_argv(later, DIGEST, now) == (
        "rebase",
        "--lock-finalization",
        "--bypass-driver",
        "ostree-image-signed:docker://r.example/os:v1.37.2",
        DIGEST,
    )
    assert stage_argv(now, DIGEST, wanted_reference("r.example/os:v1.36.3", unsigned=True))[0] == "rebase"


@pytest.mark.parametrize("reference", ["r.example/os", "localhost:5000/os", ":v1", ""])
def test_an_image_without_a_tag_is_refused_by_name(reference: str) -> None:
    with pytest.raises(OsError, match="has no tag"):
        wanted_reference(reference, unsigned=False)


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("error: Transaction in progress: upgrade\n You can cancel …", OsProblem.TRANSACTION_RUNNING),
        ("error: Old and new refs are equal: x:y", OsProblem.REFS_EQUAL),
        ("error: Updates and deployments are driven by Zincati (zincati.service)\nSee …", OsProblem.OTHER_DRIVER),
        ("error: containers-policy.json specifies a default of `x`; refusing usage", OsProblem.POLICY_REFUSED),
        ("error: Writing content: No space left on device", OsProblem.NO_SPACE),
        ("error: something new", OsProblem.COMMAND_FAILED),
        ("", OsProblem.COMMAND_FAILED),
    ],
)
def test_what_rpm_ostree_says_has_a_kind(stderr: str, kind: OsProblem) -> None:
    assert problem_in(stderr)[0] is kind
