"""Pull secrets of the host, and the bearer tokens that registries hand out, also to strangers.

Secrets: podman's auth.json, from where rpm-ostree reads them. Tokens: the distribution project's token specification.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kube_upgrade.host.paths import on_host
from kube_upgrade.host.registry_errors import RegistryError, RegistryProblem

SECRET_FILES = ("/run/ostree/auth.json", "/etc/ostree/auth.json")  # the first that exists counts
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class _Auth(msgspec.Struct):
    auth: str = ""


class _AuthFile(msgspec.Struct):
    auths: dict[str, _Auth] = {}


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


@dataclass(frozen=True, slots=True)
class Challenge:
    """Where a token is to be had, and for what."""

    realm: str
    service: str
    scope: str

    def parameters(self, repository: str) -> dict[str, str]:
        """The query that asks for a token to pull."""
        scope = self.scope or f"repository:{repository}:pull"
        return {"scope": scope} | ({"service": self.service} if self.service else {})


def challenge_in(header: str, *, plain_http: bool) -> Challenge | None:
    """Read `WWW-Authenticate: Bearer realm="…",service="…",scope="…"`; None for any other scheme.

    A realm without TLS counts only with `plain_http`: a secret may be sent there.
    """
    scheme, _, rest = header.partition(" ")
    said = dict(_PARAMETER.findall(rest))
    allowed = ("https://", "http://") if plain_http else ("https://",)
    if scheme.lower() != "bearer" or not said.get("realm", "").startswith(allowed):
        return None
    return Challenge(said["realm"], said.get("service", ""), said.get("scope", ""))


def credentials(root: Path, name: str) -> str | None:
    """The base64 `user:password` for HOST/REPO: the longest key of the first secret file that fits it, or None."""
    for path in (on_host(root, file) for file in SECRET_FILES):
        if path.is_file():
            keys = _read(path)
            fits = [key for key in keys if keys[key].auth and (name == key or name.startswith(f"{key}/"))]
            return keys[max(fits, key=len)].auth if fits else None
    return None


def authorization(secret: str) -> dict[str, str]:
    """The header that carries a secret."""
    return {"Authorization": f"Basic {secret}"}


def read_token(body: bytes) -> str:
    """The token in a token server's answer. Raises RegistryError."""
    try:
        answer = msgspec.json.decode(body, type=_Token)
    except msgspec.DecodeError:
        answer = _Token()
    if token := answer.token or answer.access_token:
        return token
    raise RegistryError(RegistryProblem.UNREADABLE, "the token server's answer holds no token")


def _read(path: Path) -> dict[str, _Auth]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_AuthFile).auths
    except (OSError, msgspec.DecodeError) as error:
        raise RegistryError(RegistryProblem.UNAUTHORIZED, f"{path} cannot be read: {type(error).__name__}") from error
