"""Signs as `cosign sign --key` does: a payload in simple signing format, ECDSA P-256 over its SHA-256."""

import base64
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

TYPE = "cosign container image signature"


class Signer:
    """A key pair."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    def write(self, path: Path) -> str:
        """Put the public key there as PEM; gives the path as text."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return str(path)

    def sign(self, digest: str, repository: str, *, type: str = TYPE) -> tuple[bytes, str]:
        """Payload and base64 signature."""
        image = {"docker-manifest-digest": digest}
        critical = {"identity": {"docker-reference": repository}, "image": image, "type": type}
        payload = json.dumps({"critical": critical, "optional": None}).encode()
        return payload, self.over(payload)

    def over(self, payload: bytes) -> str:
        """The base64 signature of these bytes."""
        return base64.b64encode(self._key.sign(payload, ec.ECDSA(SHA256()))).decode()
