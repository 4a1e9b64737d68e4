"""Specs of plans by name: those that an API server takes, and those that it refuses, with what it must say."""

from dataclasses import dataclass
from typing import Any, Final

Spec = dict[str, Any]
GONE: Final = object()  # in a change: the field is left out


@dataclass(frozen=True, slots=True)
class Refused:
    """A spec, the field that the refusal must name, and the words of the rule."""

    spec: Spec
    field: str
    words: str


def manifest(name: str, spec: Spec) -> Spec:
    """The whole object."""
    return {
        "apiVersion": "kubeupgrade.heathcliff.eu/v1alpha3",
        "kind": "KubeUpgradePlan",
        "metadata": {"name": name},
        "spec": spec,
    }


def changed(base: Spec, change: Spec) -> Spec:
    """The base with each field of the change in its place, object by object."""
    merged = dict(base)
    for key, value in change.items():
        if value is GONE:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = changed(merged[key], value)
        else:
            merged[key] = value
    return merged


SMALLEST: Spec = {
    "kubernetesVersion": "v1.37.2",
    "upgraded": {"fleetlockUrl": "http://fleetlock.example.com:8080"},
    "groups": {"workers": {"labels": {"node-role.kubernetes.io/worker": ""}}},
}
UPSTREAM: Spec = {  # the shape of upstream's v1alpha3 example
    "kubernetesVersion": "v1.37.2",
    "allowDowngrade": False,
    "groups": {
        "control-plane": {
            "labels": {"node-role.kubernetes.io/control-plane": "true"},
            "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
            "upgraded": {"fleetlockGroup": "control-plane"},
        },
        "compute": {
            "dependsOn": ["control-plane"],
            "labels": {"node-role.kubernetes.io/compute": "true"},
            "upgraded": {"fleetlockGroup": "compute"},
        },
    },
    "upgraded": {
        "stream": "ghcr.io/heathcliff26/fcos-k8s",
        "fleetlockUrl": "https://fleetlock.example.com",
        "fleetlockGroup": "default",
        "checkInterval": "3h",
        "retryInterval": "5m",
        "logLevel": "debug",
        "kubeletConfig": "/etc/kubernetes/kubelet.conf",
        "kubeadmPath": "/usr/bin/kubeadm",
        "allowUnsignedOstreeImages": True,
    },
}
EXPRESSIONS = [
    {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"},
    {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a", "b"]},
    {"key": "team", "operator": "NotIn", "values": ["storage"]},
    {"key": "ready-for-upgrades", "operator": "Exists"},
]
LARGEST: Spec = changed(
    UPSTREAM,
    {
        "via": ["v1.35.8", "v1.36.4"],
        "workersSkipHops": True,
        "paused": True,
        "windows": [{"schedule": "0 2 * * SAT", "duration": "4h", "timeZone": "Europe/Berlin"}],
        "freezes": [{"from": "2026-12-20T00:00:00Z", "until": "2027-01-04T00:00:00+01:00", "reason": "holidays"}],
        "progressDeadline": "1h30m",
        "groups": {
            "compute": {
                "labels": GONE,
                "selector": {"matchLabels": {"node.example.com/pool": "blue"}, "matchExpressions": EXPRESSIONS},
                "maxUnavailable": "25%",
                "maxFailures": 3,
                "soak": "5m",
                "paused": True,
            }
        },
    },
)


def _with(**change: Any) -> Spec:
    return changed(SMALLEST, change)


def _workers(**change: Any) -> Spec:
    return _with(groups={"workers": change})


def _setting(**change: Any) -> Spec:
    return _with(upgraded=change)


def _window(**change: Any) -> Spec:
    return _with(windows=[changed({"schedule": "0 2 * * SAT", "duration": "4h"}, change)])


def _requirement(**change: Any) -> Spec:
    return _workers(labels=GONE, selector={"matchExpressions": [{"key": "zone", "operator": "Exists"} | change]})


def _needing(**needs: list[str]) -> Spec:
    return _with(groups={"workers": GONE} | {name: _group(name, needs[name]) for name in needs})


def _group(name: str, needs: list[str]) -> Spec:
    return {"labels": {"group": name}, "dependsOn": needs}


NAMES = [f"g{index}" for index in range(32)]
CHAIN = {name: NAMES[index - 1 : index] for index, name in enumerate(NAMES)}  # each needs the one before
DENSE = {name: NAMES[:index] for index, name in enumerate(NAMES)}  # each needs all before

ACCEPTED: dict[str, Spec] = {
    "smallest": SMALLEST,
    "upstream": UPSTREAM,
    "largest": LARGEST,
    "prerelease": _with(kubernetesVersion="v1.38.0-rc.1"),
    "version-zeros": _with(kubernetesVersion="v1.40.0"),
    "stream-survives-fleetlock-group": changed(
        _setting(stream="registry.example.com:5000/os/fcos_k8s"),
        {"groups": {"workers": {"upgraded": {"fleetlockGroup": "workers"}}}},
    ),
    "via-across-three-minors": _with(via=["v1.34.11", "v1.35.8", "v1.36.4"]),
    "via-empty": _with(via=[]),
    "unavailable-number": _workers(maxUnavailable=7),
    "unavailable-one-percent": _workers(maxUnavailable="1%"),
    "unavailable-all": _workers(maxUnavailable="100%"),
    "soak-none": _workers(soak="0s"),
    "soak-fraction": _workers(soak="1.5h30m"),
    "group-settings-null": _workers(upgraded=None),
    "match-labels": _workers(labels=GONE, selector={"matchLabels": {"zone": "a"}}),
    "window-in-utc": _window(),
    "soak-of-a-year": _workers(soak="8760h"),
    "deadline-of-a-year-in-minutes": _with(progressDeadline="525600m"),
    "interval-with-many-decimals": _setting(retryInterval="0.123456789h"),
    "window-of-a-month": _window(duration="744h"),
    "window-by-names": _window(schedule="*/15 0-4,22 1 JAN-MAR MON-FRI", timeZone="America/Argentina/Buenos_Aires"),
    "lock-server-by-ipv6": _setting(fleetlockUrl="http://[fd00::1]:8080/secret/path/"),
    "no-kubeadm-path": _setting(kubeadmPath=""),
    "lock-group-with-capitals": _setting(fleetlockGroup="Rack.A-1"),
    "diamond": _needing(a=[], b=["a"], c=["a"], d=["b", "c"]),
    "chain-of-32": _needing(**CHAIN),
    "dense-32": _needing(**DENSE),
    "group-name-with-dot": _needing(**{"rack-1.row-2": []}),
}

VERSION = "must be a full version with a leading v, such as v1.37.2"
LONGER = "longer than 0s, such as 90s, 5m or 1h30m"
YEAR = "must be 8760h (a year) at most"
MONTH = "must be 744h (31 days) at most"
URL = "must be an http or https URL with a host"
CRON = "must be a cron expression of five fields"
REFUSED: dict[str, Refused] = {
    "version-minor-only": Refused(_with(kubernetesVersion="v1.36"), "spec.kubernetesVersion", VERSION),
    "version-without-v": Refused(_with(kubernetesVersion="1.37.2"), "spec.kubernetesVersion", VERSION),
    "version-leading-zero": Refused(_with(kubernetesVersion="v1.037.2"), "spec.kubernetesVersion", VERSION),
    "version-with-build": Refused(_with(kubernetesVersion="v1.37.2+k3s1"), "spec.kubernetesVersion", VERSION),
    "version-absent": Refused(_with(kubernetesVersion=GONE), "spec.kubernetesVersion", "Required value"),
    "via-minor-only": Refused(_with(via=["v1.36"]), "spec.via[0]", VERSION),
    "via-descending": Refused(_with(via=["v1.36.4", "v1.35.8"]), "spec.via", "in ascending order"),
    "via-twice-a-minor": Refused(_with(via=["v1.36.3", "v1.36.4"]), "spec.via", "one version for each minor"),
    "via-target-minor": Refused(_with(via=["v1.37.1"]), "spec", "via must name versions of minors below"),
    "via-beyond-target": Refused(_with(via=["v1.38.0"]), "spec", "via must name versions of minors below"),
    "via-other-major": Refused(_with(via=["v2.1.0"]), "spec", "via must name versions of minors below"),
    "no-group": Refused(_with(groups={"workers": GONE}), "spec.groups", "should have at least 1 properties"),
    "groups-absent": Refused(_with(groups=GONE), "spec.groups", "Required value"),
    "33-groups": Refused(
        _with(groups={f"g{n}": {"labels": {"a": "b"}} for n in range(33)}), "spec.groups", "must have at most 32 items"
    ),
    "group-name-underscore": Refused(_needing(a_b=[]), "spec.groups", "must be named by at most 63 lower-case letters"),
    "group-name-capital": Refused(_needing(Workers=[]), "spec.groups", "such as control-plane"),
    "depends-on-nobody": Refused(_workers(dependsOn=["masters"]), "spec.groups", "dependsOn must name groups of this"),
    "depends-on-itself": Refused(_workers(dependsOn=["workers"]), "spec.groups", "must not name the group itself"),
    "circle-of-two": Refused(_needing(a=["b"], b=["a"]), "spec.groups", "dependsOn must not lead in a circle"),
    "circle-of-three-beside-others": Refused(
        _needing(a=["c"], b=["a"], c=["b"], d=[], e=["a", "d"]), "spec.groups", "dependsOn must not lead in a circle"
    ),
    "circle-of-32": Refused(_needing(**CHAIN | {"g0": ["g31"]}), "spec.groups", "dependsOn must not lead in a circle"),
    "dense-32-with-circle": Refused(
        _needing(**DENSE | {"g0": ["g31"]}), "spec.groups", "dependsOn must not lead in a circle"
    ),
    "labels-and-selector": Refused(
        _workers(selector={"matchLabels": {"zone": "a"}}), "spec.groups[workers]", "exactly one of selector and labels"
    ),
    "neither-labels-nor-selector": Refused(
        _workers(labels=GONE), "spec.groups[workers]", "exactly one of selector and labels"
    ),
    "labels-empty": Refused(
        _with(groups={"workers": GONE, "all": {"labels": {}}}), "spec.groups[all].labels", "at least one entry"
    ),
    "selector-empty": Refused(
        _workers(labels=GONE, selector={}),
        "spec.groups[workers].selector",
        "an entry in matchLabels or matchExpressions",
    ),
    "label-key": Refused(_workers(labels={"two words": ""}), "spec.groups[workers].labels", "must have label keys"),
    "label-value": Refused(_workers(labels={"zone": "a b"}), "spec.groups[workers].labels", "must have label values"),
    "match-label-key": Refused(
        _workers(labels=GONE, selector={"matchLabels": {"-a": ""}}), "workers].selector.matchLabels", "have label keys"
    ),
    "match-label-value": Refused(
        _workers(labels=GONE, selector={"matchLabels": {"a": "b-"}}),
        "workers].selector.matchLabels",
        "label values: at",
    ),
    "requirement-in-without-values": Refused(
        _requirement(operator="In"), "selector.matchExpressions[0]", "values must be given with In and NotIn, and only"
    ),
    "requirement-exists-with-values": Refused(
        _requirement(values=["a"]), "selector.matchExpressions[0]", "values must be given with In and NotIn, and only"
    ),
    "requirement-operator": Refused(
        _requirement(operator="Equals"), "selector.matchExpressions[0].operator", 'supported values: "In", "NotIn"'
    ),
    "requirement-key": Refused(
        _requirement(key="a/b/c"), "selector.matchExpressions[0].key", "must be a label key, such as"
    ),
    "unavailable-zero": Refused(_workers(maxUnavailable=0), "workers].maxUnavailable", "must be a number from 1 on"),
    "unavailable-negative": Refused(_workers(maxUnavailable=-1), "workers].maxUnavailable", "a number from 1 on"),
    "unavailable-zero-percent": Refused(_workers(maxUnavailable="0%"), "workers].maxUnavailable", "from 1% to 100%"),
    "unavailable-over-all": Refused(_workers(maxUnavailable="101%"), "workers].maxUnavailable", "from 1% to 100%"),
    "unavailable-number-as-text": Refused(_workers(maxUnavailable="2"), "workers].maxUnavailable", "from 1% to 100%"),
    "failures-zero": Refused(_workers(maxFailures=0), "spec.groups.workers.maxFailures", "greater than or equal to 1"),
    "soak-negative": Refused(_workers(soak="-5m"), "workers].soak", "must be a duration in h, m, s or ms"),
    "soak-without-unit": Refused(_workers(soak="300"), "workers].soak", "must be a duration in h, m, s or ms"),
    "soak-of-more-than-a-year": Refused(_workers(soak="8760h1ms"), "workers].soak", YEAR),
    "soak-of-a-million-years": Refused(_workers(soak="999999999.9h999999999h"), "workers].soak", YEAR),
    "deadline-of-millennia": Refused(_with(progressDeadline="99999999h"), "spec.progressDeadline", YEAR),
    "deadline-of-millennia-in-minutes": Refused(_with(progressDeadline="999999999m"), "spec.progressDeadline", YEAR),
    "interval-of-millennia": Refused(_setting(checkInterval="99999999h"), "spec.upgraded.checkInterval", YEAR),
    "deadline-zero": Refused(_with(progressDeadline="0m0s"), "spec.progressDeadline", LONGER),
    "deadline-in-days": Refused(_with(progressDeadline="1d"), "spec.progressDeadline", LONGER),
    "settings-absent": Refused(_with(upgraded=GONE), "spec.upgraded", "Required value"),
    "lock-server-absent": Refused(_setting(fleetlockUrl=GONE), "spec.upgraded", "fleetlockUrl must be set"),
    "lock-server-path-only": Refused(_setting(fleetlockUrl="/x"), "spec.upgraded.fleetlockUrl", URL),
    "lock-server-other-scheme": Refused(_setting(fleetlockUrl="ftp://host"), "spec.upgraded.fleetlockUrl", URL),
    "lock-server-without-host": Refused(_setting(fleetlockUrl="http:///v1"), "spec.upgraded.fleetlockUrl", URL),
    "lock-server-of-group": Refused(
        _workers(upgraded={"fleetlockUrl": "fleetlock:8080"}), "spec.groups[workers].upgraded.fleetlockUrl", URL
    ),
    "lock-group-underscore": Refused(
        _setting(fleetlockGroup="control_plane"), "spec.upgraded.fleetlockGroup", "letters, digits, '.' and '-' only"
    ),
    "stream-with-tag": Refused(
        _setting(stream="ghcr.io/x/y:v1.37.2"), "spec.upgraded.stream", "an image repository without tag or digest"
    ),
    "stream-with-digest": Refused(
        _setting(stream=f"ghcr.io/x/y@sha256:{'0' * 64}"), "spec.upgraded.stream", "without tag or digest"
    ),
    "stream-with-scheme": Refused(
        _setting(stream="docker://ghcr.io/x/y"), "spec.upgraded.stream", "such as ghcr.io/heathcliff26/fcos-k8s"
    ),
    "interval-zero": Refused(_setting(checkInterval="0s"), "spec.upgraded.checkInterval", LONGER),
    "interval-garbage": Refused(_setting(retryInterval="3h garbage"), "spec.upgraded.retryInterval", LONGER),
    "log-level": Refused(
        _setting(logLevel="trace"), "spec.upgraded.logLevel", 'supported values: "debug", "info", "warn", "error"'
    ),
    "kubelet-config-relative": Refused(
        _setting(kubeletConfig="kubelet.conf"), "spec.upgraded.kubeletConfig", "must be an absolute path on the host"
    ),
    "kubeadm-path-relative": Refused(
        _setting(kubeadmPath="bin/kubeadm"), "spec.upgraded.kubeadmPath", "must be empty or an absolute path"
    ),
    "unsigned-as-text": Refused(
        _setting(allowUnsignedOstreeImages="yes"), "spec.upgraded.allowUnsignedOstreeImages", "must be of type boolean"
    ),
    "window-four-fields": Refused(_window(schedule="0 2 * *"), "spec.windows[0].schedule", CRON),
    "window-six-fields": Refused(_window(schedule="0 0 2 * * SAT"), "spec.windows[0].schedule", CRON),
    "window-shut": Refused(_window(duration="0h"), "spec.windows[0].duration", LONGER),
    "window-too-long": Refused(_window(duration="744h1s"), "spec.windows[0].duration", MONTH),
    "window-of-a-century": Refused(_window(duration="999999999h"), "spec.windows[0].duration", MONTH),
    "window-of-a-century-in-minutes": Refused(_window(duration="999999999m"), "spec.windows[0].duration", MONTH),
    "window-without-duration": Refused(_window(duration=GONE), "spec.windows[0].duration", "Required value"),
    "window-zone": Refused(
        _window(timeZone="Europe Berlin"),
        "spec.windows[0].timeZone",
        "must be an IANA time zone, such as Europe/Berlin",
    ),
    "freeze-backwards": Refused(
        _with(freezes=[{"from": "2027-01-04T00:00:00Z", "until": "2026-12-20T00:00:00Z"}]),
        "spec.freezes[0]",
        "until must be later than from",
    ),
    "freeze-without-zone": Refused(
        _with(freezes=[{"from": "2026-12-20T00:00:00", "until": "2027-01-04T00:00:00Z"}]),
        "spec.freezes[0].from",
        "must be of type date-time",
    ),
}
