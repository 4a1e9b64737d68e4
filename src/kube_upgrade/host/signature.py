"""One cosign signature against one public key: ECDSA over SHA-256, as `cosign sign --key` makes it.

It runs in a process of its own (`upgraded check-signature`): the library takes 9 MiB that an idle daemon does without.
"""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

GOOD, BAD, NO_KEY = 0, 10, 11  # exit codes; any other one is no answer


def check_signature(key: Path, signature: str, payload: str) -> int:
    """Signature and payload are base64. NO_KEY, with a sentence on stderr, where the file holds no such public key."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    try:
        public = _loaded(key.read_bytes())
    except OSError as error:
        return _no_key(f"{key}: no PEM public key: {error.strerror}")
    except ValueError as error:
        return _no_key(f"{key}: {error}")
    try:
        public.verify(base64.b64decode(signature, validate=True), base64.b64decode(payload), ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return BAD
    return GOOD


def key_problem(pem: bytes) -> str:
    """Why no signature can be checked with this; empty where one can."""
    try:
        _loaded(pem)
    except ValueError as error:
        return str(error)
    return ""


def _loaded(pem: bytes) -> "EllipticCurvePublicKey":
    """Raises ValueError."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        public = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"no PEM public key: {error}") from error
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("not an ECDSA key, which cosign makes")
    return public


def main(arguments: Sequence[str]) -> int:
    """`check-signature KEYFILE SIGNATURE PAYLOAD`."""
    key, signature, payload = arguments
    return check_signature(Path(key), signature, payload)


def _no_key(why: str) -> int:
    print(why, file=sys.stderr)  # noqa: T201 - read by the process that asked
    return NO_KEY
