"""What an image is in the lab's registry: manifests and nothing behind them. The same words give the same digest."""

import hashlib
import json
from collections.abc import Sequence
from types import MappingProxyType

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
KUBERNETES_LABEL = "lab.kube-upgrade.heathcliff.eu/kubernetes"  # annotation: which version the image brings
ARCHITECTURES = MappingProxyType({"x86_64": "amd64", "aarch64": "arm64"})  # uname's word: the image's


def manifest(repository: str, version: str, build: int, architecture: str) -> bytes:
    """The manifest of one platform. `build` counts rebuilds of the same version."""
    said = f"{repository} {version} {build} {architecture}"
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(said.encode()), "size": 2}
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config,
            "layers": [],
            "annotations": {
                KUBERNETES_LABEL: version,
                "org.opencontainers.image.version": ".".join(version.split(".")[:2]),
                "lab.kube-upgrade.heathcliff.eu/build": str(build),
            },
        }
    )


def index(manifests: dict[str, bytes]) -> bytes:
    """The index over the manifests of several platforms."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": INDEX_TYPE,
            "manifests": [
                {
                    "mediaType": MANIFEST_TYPE,
                    "digest": digest_of(body),
                    "size": len(body),
                    "platform": {"architecture": architecture, "os": "linux"},
                }
                for architecture, body in manifests.items()
            ],
        }
    )


def signature_manifest(signatures: Sequence[tuple[bytes, str]]) -> bytes:
    """cosign's attachment: one layer per payload, with the base64 signature over it as its annotation."""
    layers = [
        {
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": digest_of(payload),
            "size": len(payload),
            "annotations": {"dev.cosignproject.cosign/signature": signature},
        }
        for payload, signature in signatures
    ]
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"{}"), "size": 2}
    return _json({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers})


def digest_of(body: bytes) -> str:
    """`sha256:` and 64 hex digits."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
