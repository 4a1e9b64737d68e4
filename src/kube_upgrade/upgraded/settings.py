"""/etc/kube-upgraded/config.yaml: what the host's owner says. Annotations of the plan override only the node's config.

Keys are read in all their forms: camelCase, kebab-case (upstream 0.2 to 0.5) and upstream 0.1's `image` and
`fleetlock: {url, group}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import yaml

from kube_upgrade.model.host import HostRules, Verification
from kube_upgrade.model.node_config import FIELDS, BadValue, NodeConfig, parse_duration, read_config

DEFAULT_KUBECONFIG = "/etc/kubernetes/kubelet.conf"


class BadSettings(ValueError):
    """The file cannot be used. The text names file, field, value and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything in config.yaml. Paths of programs are as the host names them; `root` comes before each."""

    root: Path = Path("/")
    kubeconfig: str = DEFAULT_KUBECONFIG
    rpm_ostree: str = "/usr/bin/rpm-ostree"
    bootc: str = "/usr/bin/bootc"
    ostree: str = "/usr/bin/ostree"
    systemd_run: str = "/usr/bin/systemd-run"
    systemctl: str = "/usr/bin/systemctl"
    kubelet_health: str = "http://127.0.0.1:10248/healthz"  # empty: nobody to ask
    api_server: str = "https://127.0.0.1:6443"
    etcd: str = "https://127.0.0.1:2379"
    probes: str = ""  # HOST:PORT of /healthz, /readyz and /metrics; empty for none
    fleetlock_ca: str = ""  # PEM file that the lock server's certificate is checked against
    kubeadm_options: tuple[str, ...] = ()  # --config FILE or --patches DIR of `kubeadm upgrade`
    ignore_preflight: tuple[str, ...] = ()  # checks of kubeadm that shall only warn, such as SystemVerification
    node: NodeConfig = field(default_factory=NodeConfig)
    rules: HostRules = field(default_factory=HostRules)


def load(path: Path) -> Settings:
    """Read the file; a missing one means all defaults. Raises BadSettings."""
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadSettings(f"{path}: {error}") from error
    try:
        return read_settings(raw if raw is not None else {})
    except BadValue as error:
        raise BadSettings(f"{path}: {error}") from error


def reload(path: Path) -> Settings:
    """Read it while the daemon runs. Raises BadSettings, also where it is missing or empty: that lifts no guard."""
    try:
        empty = not yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise BadSettings(f"{path}: is gone; only a restart goes back to the defaults") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadSettings(f"{path}: {error}") from error
    if empty:
        raise BadSettings(f"{path}: says nothing; only a restart goes back to the defaults")
    return load(path)


def read_settings(raw: object) -> Settings:
    """The settings in a decoded document. Raises BadValue; unknown keys are named, since a typo must not go unseen."""
    if not isinstance(raw, Mapping):
        raise BadValue(f"{raw!r} is not a mapping of settings")
    said = _of_all_eras(raw)
    defaults, rules = Settings(), HostRules()
    if unknown := sorted(set(said) - _known()):
        raise BadValue(f"{unknown[0]}: no such setting; known are {', '.join(sorted(_known()))}")
    return Settings(
        root=Path(_path(said, "root", "/")),
        kubeconfig=_path(said, "kubeconfig", defaults.kubeconfig),
        rpm_ostree=_path(said, "rpmOstreePath", defaults.rpm_ostree),
        bootc=_path(said, "bootcPath", defaults.bootc),
        ostree=_path(said, "ostreePath", defaults.ostree),
        systemd_run=_path(said, "systemdRunPath", defaults.systemd_run),
        systemctl=_path(said, "systemctlPath", defaults.systemctl),
        kubelet_health=_url(said, "kubeletHealth", defaults.kubelet_health),
        api_server=_url(said, "apiServer", defaults.api_server),
        etcd=_url(said, "etcd", defaults.etcd),
        probes=_address(said, "probes"),
        fleetlock_ca=_path(said, "fleetlockCa", ""),
        kubeadm_options=_kubeadm_options(said),
        ignore_preflight=_texts(said, "ignorePreflightErrors"),
        node=read_config(said),
        rules=HostRules(
            allowed_streams=_texts(said, "allowedStreams"),
            verification=_verification(said),
            wait_for_pods=_choice(said, "drain", ("wait", "none"), "wait") == "wait",
            settle=_duration(said, "settle", rules.settle),
            control_plane_settle=_duration(said, "controlPlaneSettle", rules.control_plane_settle),
            attempts=_count(said, "attempts", rules.attempts),
            reboot_within=_duration(said, "rebootWithin", rules.reboot_within),
            verify_within=_duration(said, "verifyWithin", rules.verify_within),
            poll=_duration(said, "poll", rules.poll),
        ),
    )


_OWN = (
    "root", "kubeconfig", "rpmOstreePath", "bootcPath", "ostreePath", "systemdRunPath", "systemctlPath",
    "kubeletHealth", "apiServer", "etcd", "probes", "fleetlockCa", "kubeadmConfig", "kubeadmPatches",
    "ignorePreflightErrors", "allowedStreams",
    "verification", "drain", "settle", "controlPlaneSettle", "attempts", "rebootWithin", "verifyWithin", "poll",
)  # fmt: skip


def _known() -> set[str]:
    return set(_OWN) | {f.camel for f in FIELDS}


def _of_all_eras(raw: Mapping[Any, Any]) -> dict[str, Any]:
    """The same with every key in today's form; today's form wins where both stand."""
    today = {f.kebab: f.camel for f in FIELDS} | {f.name: f.camel for f in FIELDS}
    today |= {_kebab(name): name for name in _OWN} | {"image": "stream"}
    said = {today.get(key, str(key)): value for key, value in raw.items() if key != "fleetlock" and value is not None}
    lock = raw.get("fleetlock")
    if lock is not None and not isinstance(lock, Mapping):
        raise BadValue(f"fleetlock: {lock!r} is not a mapping with url and group")
    nested = {"fleetlockUrl": lock.get("url"), "fleetlockGroup": lock.get("group")} if lock else {}
    older = {key: value for key, value in nested.items() if value is not None}
    newer = {key: raw[key] for key in _known() & set(raw) if raw[key] is not None}
    said = {**older, **said, **newer}
    if "kubeletConfig" in said and "kubeconfig" not in said:
        said["kubeconfig"] = said["kubeletConfig"]
    return said


def _kebab(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)


def _text(said: Mapping[str, Any], key: str, default: str) -> str:
    value = said.get(key, default)
    if not isinstance(value, str):
        raise BadValue(f"{key}: {value!r} is not text")
    if not value.isprintable():
        raise BadValue(f"{key}: {value!r} holds what cannot be printed")
    return value


def _path(said: Mapping[str, Any], key: str, default: str) -> str:
    value = _text(said, key, default)
    if value and not value.startswith("/"):
        raise BadValue(f"{key}: {value!r} is not an absolute path")
    return value


def _url(said: Mapping[str, Any], key: str, default: str) -> str:
    value = _text(said, key, default)
    if value and not _is_url(value):
        raise BadValue(f"{key}: {value!r} is neither empty nor a URL like {default}")
    return value.rstrip("/")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # an unclosed bracket, a port that is no number
        return False


def _address(said: Mapping[str, Any], key: str) -> str:
    value = _text(said, key, "")
    if value and not (":" in value and value.rpartition(":")[2].isdecimal()):
        raise BadValue(f"{key}: {value!r} is not HOST:PORT, such as 127.0.0.1:9090")
    return value


def _texts(said: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = said.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadValue(f"{key}: {value!r} is not a list of texts")
    return tuple(value)


def _kubeadm_options(said: Mapping[str, Any]) -> tuple[str, ...]:
    """kubeadm remembers neither from one run to the next; patches may stand in the config, too."""
    config, patches = _path(said, "kubeadmConfig", ""), _path(said, "kubeadmPatches", "")
    if config and patches:
        raise BadValue(f"kubeadmPatches: {patches!r} beside kubeadmConfig; name the folder in that file instead")
    return ("--config", config) if config else (("--patches", patches) if patches else ())


def _verification(said: Mapping[str, Any]) -> Verification | None:
    """`verification: {keys: [PATH, …], identity: HOST/REPO}`: a guard without keys would let everything through."""
    value = said.get("verification")
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) - {"keys", "identity"}:
        raise BadValue(f"verification: {value!r} is not a mapping of keys and identity")
    keys = _texts(value, "keys")
    if not keys or not all(key.startswith("/") and key.isprintable() for key in keys):
        raise BadValue(f"verification.keys: {list(keys)!r} is not a list of absolute paths of cosign public keys")
    return Verification(keys=keys, identity=_text(value, "identity", ""))


def _choice(said: Mapping[str, Any], key: str, words: tuple[str, ...], default: str) -> str:
    value = said.get(key, default)
    if value not in words:
        raise BadValue(f"{key}: {value!r} is none of {', '.join(words)}")
    return cast("str", value)


def _duration(said: Mapping[str, Any], key: str, default: timedelta) -> timedelta:
    if key not in said:
        return default
    try:
        return parse_duration(_text(said, key, ""))
    except BadValue as error:
        raise BadValue(f"{key}: {error}") from None


def _count(said: Mapping[str, Any], key: str, default: int) -> int:
    value = said.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadValue(f"{key}: {value!r} is not a whole number from 1 up")
    return value
