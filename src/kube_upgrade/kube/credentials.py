"""Where the API server is and who we are: a kubeconfig file or the pod's service account, read again when files change.

A kubelet's certificate rotates behind a symlink and a service account's token is replaced every hour, so whoever holds
a connection compares `Credentials.files` with the disk and loads again. All functions here block: call them in threads.
"""

import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2
import msgspec
import yaml
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from kube_upgrade.kube.errors import BadKubeconfig
from kube_upgrade.kube.transport import MOST_CONNECTIONS, LeanTransport

Fingerprint = tuple[tuple[str, int, int, int], ...]  # path, inode, mtime in ns, size; -1 where the file is missing

_LIMITS = httpx2.Limits(
    max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS, keepalive_expiry=30.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """One reading of a kubeconfig, and the state of the files that it came from as seen *before* the reading."""

    config: SingleConfig
    files: Fingerprint

    def changed(self) -> bool:
        """True where a file is not the one that was read."""
        return fingerprint(path for path, *_ in self.files) != self.files

    def client(self, *, user_agent: str, timeout: httpx2.Timeout) -> httpx2.AsyncClient:
        """An HTTP client with this server, trust and identity. Raises BadKubeconfig where a certificate is unusable."""
        proxied = _proxied(self.config.cluster.server)
        # Not compressed: a list of 5,000 nodes costs more to pack and unpack than to send within a cluster.
        headers = {"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "identity"}
        try:
            params = ConnectionParams(timeout=timeout, trust_env=proxied).httpx_params(self.config)
            transport = None if proxied else LeanTransport(params["verify"])
            return httpx2.AsyncClient(**params | {"transport": transport}, headers=headers, limits=_LIMITS)
        except (ConfigError, OSError, ValueError) as error:
            raise BadKubeconfig(f"{self.config.fname or 'service account'}: {_plain(error)}") from error


def load(kubeconfig: Path | None) -> Credentials:
    """Read this kubeconfig; None: the pod's service account, else the file of $KUBECONFIG, else ~/.kube/config."""
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ and (Path(SERVICE_ACCOUNT) / "token").is_file():
        return _from_service_account(Path(SERVICE_ACCOUNT))
    return _from_file(kubeconfig or Path(os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG).expanduser())


def fingerprint(paths: Iterable[str]) -> Fingerprint:
    """What tells one state of these files from another; links are followed."""
    return tuple((path, *_stat(path)) for path in paths)


def _from_service_account(folder: Path) -> Credentials:
    files = fingerprint(str(folder / name) for name in ("token", "ca.crt"))
    try:
        return Credentials(config=KubeConfig.from_service_account(folder).get() or _no_context(folder), files=files)
    except (ConfigError, OSError, KeyError) as error:
        raise BadKubeconfig(f"{folder}: not usable as a service account: {_plain(error)}") from error


def _from_file(path: Path) -> Credentials:
    own = fingerprint([str(path)])
    try:
        config = KubeConfig.from_file(path).get() or _no_context(path)
    except yaml.YAMLError as error:  # its text quotes the file, which holds secrets
        line = error.problem_mark.line + 1 if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark else "?"
        raise BadKubeconfig(f"{path}: no valid YAML in line {line}") from None
    except KeyError as error:
        raise BadKubeconfig(f"{path}: {error} is missing or named but not defined") from error
    except (TypeError, AttributeError) as error:  # a list or a text where a mapping should be
        raise BadKubeconfig(f"{path}: not usable as a kubeconfig: want clusters, users and contexts") from error
    except (ConfigError, OSError, ValueError, msgspec.ValidationError) as error:
        raise BadKubeconfig(f"{path}: not usable as a kubeconfig: {_plain(error)}") from error
    config = config._replace(user=config.user or User())  # no user: anonymous, as kubectl does it
    return Credentials(config=config, files=own + fingerprint(_named_files(config)))


def _named_files(config: SingleConfig) -> list[str]:
    user, cluster = config.user or User(), config.cluster
    named = (cluster.certificate_auth, user.client_cert, user.client_key, user.token_file)
    return [str(config.abs_file(name)) for name in dict.fromkeys(named) if name]


def _no_context(path: Path) -> SingleConfig:
    raise ConfigError(f"{path} has no current-context")


def _stat(path: str) -> tuple[int, int, int]:
    try:
        found = Path(path).stat()
    except OSError:
        return (-1, -1, -1)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _proxied(server: str) -> bool:
    """True where the environment names a proxy for this server; as with Go's clients, never for this machine."""
    address = urlsplit(server)
    host = address.hostname or ""
    if host == "localhost" or _loopback(host):
        return False
    named = getproxies()
    return (address.scheme in named or "all" in named) and not proxy_bypass(host)


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _plain(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"certificate or key not usable: {error.reason or error}"
    return str(error) or type(error).__name__
