"""One cosign signature against one public key: ECDSA over SHA-256, as `cosign sign --key` makes it.

It runs in a process of its own (`upgraded check-signature`): the library takes 9 MiB that an idle daemon does without.
"""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path

GOOD, BAD, NO_KEY = 0, 10, 11  # exit codes; any other one is no answer


def check_signature(key: Path, signature: str, payload: str) -> int:
    """Signature and payload are base64. NO_KEY, with a sentence on stderr, where the file holds no such public key."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        public = load_pem_public_key(key.read_bytes())
    except (OSError, ValueError) as error:
        return _no_key(f"{key}: no PEM public key: {error}")
    if not isinstance(public, ec.EllipticCurvePublicKey):
        return _no_key(f"{key}: not an ECDSA key, which cosign makes")
    try:
        public.verify(base64.b64decode(signature, validate=True), base64.b64decode(payload), ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return BAD
    return GOOD


def main(arguments: Sequence[str]) -> int:
    """`check-signature KEYFILE SIGNATURE PAYLOAD`."""
    key, signature, payload = arguments
    return check_signature(Path(key), signature, payload)


def _no_key(why: str) -> int:
    print(why, file=sys.stderr)  # noqa: T201 - read by the process that asked
    return NO_KEY
