"""Fetches an image's manifest as rpm-ostree's pull does, by tag or by digest, and what the lab needs of it."""

import hashlib
import http.client
import json
import platform
from dataclasses import dataclass
from typing import Any

from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.lab.registry_content import ARCHITECTURES, INDEX_TYPE, KUBERNETES_LABEL, MANIFEST_TYPE

_PREFIXES = ("ostree-unverified-registry:", "ostree-image-signed:docker://", "ostree-image-signed:registry:",
             "ostree-unverified-image:docker://", "ostree-unverified-image:registry:")  # fmt: skip
_SECONDS = 10.0


@dataclass(frozen=True)
class Pulled:
    """The per-arch manifest that was pulled, and the Kubernetes version its image brings."""

    digest: str
    kubernetes: str


def pull(image: str, revision: str | None) -> Pulled:
    """Pull what `image` names, or the digest `revision` of its repository. Raises Refused in rpm-ostree's words."""
    name = next((image[len(prefix) :] for prefix in _PREFIXES if image.startswith(prefix)), None)
    if name is None:
        raise Refused(f"No remote named {image.partition(':')[0]!r}")
    repository, _, tag = name.rpartition(":")
    body = _get(repository, revision or tag)
    found = json.loads(body)
    if "manifests" in found:
        digest = _peel(found, name)
        body = _get(repository, digest)
        found = json.loads(body)
    kubernetes = found.get("annotations", {}).get(KUBERNETES_LABEL, "")
    if not kubernetes:
        raise Refused(f"Importing: {name} has no annotation {KUBERNETES_LABEL}")
    return Pulled(f"sha256:{hashlib.sha256(body).hexdigest()}", kubernetes)


def _peel(index: dict[str, Any], name: str) -> str:
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    for entry in index["manifests"]:
        if entry["platform"]["architecture"] == architecture:
            return str(entry["digest"])
    raise _importer(f"choosing image instance: no image found in manifest list for architecture {architecture}: {name}")


def _get(repository: str, reference: str) -> bytes:
    host, _, path = repository.partition("/")
    connection = http.client.HTTPConnection(host, timeout=_SECONDS)
    try:
        url = f"/v2/{path}/manifests/{reference}"
        connection.request("GET", url, headers={"Accept": f"{INDEX_TYPE}, {MANIFEST_TYPE}"})
        answer = connection.getresponse()
        body = answer.read()
    except OSError as error:
        raise _importer(f"pinging container registry {host}: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        what = "manifest unknown" if answer.status == 404 else f"HTTP {answer.status}"
        raise _importer(f"reading manifest {reference} in {repository}: {what}")
    return body


def _importer(what: str) -> Refused:
    return Refused(f"Creating importer: Failed to invoke skopeo proxy method OpenImage: remote error: {what}")
