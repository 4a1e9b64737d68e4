"""What the API server refuses about a plan, rule by rule, in CEL.

Only functions that Kubernetes has had since 1.29 are used: a cluster installs the CRD before its first upgrade.
Cost: each rule is estimated for the longest text and the fullest list that the schema allows, times every group.
"""

from dataclasses import dataclass
from datetime import timedelta

from kube_upgrade.model.node_config import LONGEST, render_duration

LONGEST_WINDOW = timedelta(days=31)
NUMBER = r"(0|[1-9][0-9]{0,4})"
WORD = r"(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"  # of a prerelease: numbers have no leading zero
VERSION = rf"^v{NUMBER}\.{NUMBER}\.{NUMBER}(-{WORD}(\.{WORD})*)?$"
DURATION = r"^([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h))+$"
LABEL_KEY = r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"
GROUP_NAME = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"
STREAM = r"^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`cel` over `self` must hold; `right` says what would be, with {field} for the name of the place.

    The API server puts path and value before it: spec.via[0]: Invalid value: "v1.36": via must be a full version ...
    """

    cel: str
    right: str


def _matches(pattern: str, right: str) -> Rule:
    return Rule(cel=f"self.matches(r'{pattern}')", right=right)


FULL_VERSION = _matches(VERSION, "{field} must be a full version with a leading v, such as v1.37.2 or v1.38.0-rc.1")
ANY_DURATION = _matches(DURATION, "{field} must be a duration in h, m, s or ms, such as 90s, 5m or 1h30m; 0s for none")
POSITIVE_DURATION = Rule(
    cel=f"self.matches(r'{DURATION}') && self.matches('[1-9]')",
    right="{field} must be a duration in h, m, s or ms longer than 0s, such as 90s, 5m or 1h30m",
)
# What would overflow in duration() is kept away from it: 10000h and 1000000m are longer than any limit here.
_FAR_TOO_LONG = r"(^|[hms])0*[1-9]([0-9]{4}[0-9.]*h|[0-9]{6}[0-9.]*m([0-9]|$))"


def _up_to(longest: timedelta, right: str) -> Rule:
    return Rule(
        cel=f"!self.matches(r'{DURATION}') || (!self.matches(r'{_FAR_TOO_LONG}')"
        f" && duration(self) <= duration('{render_duration(longest)}'))",
        right=f"{{field}} must be {render_duration(longest)} {right}",
    )


UP_TO_A_MONTH = _up_to(LONGEST_WINDOW, "(31 days) at most: a plan that may always upgrade has no windows")
UP_TO_A_YEAR = _up_to(LONGEST, "(a year) at most")
ABSOLUTE_PATH = Rule(
    cel="self.startsWith('/')",
    right="{field} must be an absolute path on the host, such as /etc/kubernetes/kubelet.conf",
)
LABELS = (
    Rule(
        cel=f"self.all(key, key.matches(r'{LABEL_KEY}'))",
        right="{field} must have label keys, such as topology.kubernetes.io/zone",
    ),
    Rule(
        cel=f"self.all(key, self[key].matches(r'{LABEL_VALUE}'))",
        right="{field} must have label values: at most 63 letters, digits, '-', '_' and '.', alphanumeric at both ends",
    ),
)


def _peeled() -> str:
    """No group is left after every group whose dependencies are gone has been taken away, as often as there are groups.

    A list of one list carries each round's result to the next: CEL has no variables.
    """
    rounds = ".map(left, left.filter(name, self[name].dependsOn.exists(other, other in left)))" * 32
    return f"[self.map(name, name)]{rounds}[0].size() == 0"


SETTINGS: dict[str, tuple[Rule, ...]] = {
    "stream": (
        _matches(
            STREAM, "{field} must be an image repository without tag or digest, such as ghcr.io/heathcliff26/fcos-k8s"
        ),
    ),
    "fleetlockUrl": (
        Rule(
            cel="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''"
            " && url(self).getQuery().size() == 0",
            right="{field} must be an http or https URL with a host and without query, such as http://fleetlock:8080",
        ),
    ),
    "fleetlockGroup": (
        _matches(
            r"^[a-zA-Z0-9.-]+$", "{field} must be a FleetLock group: letters, digits, '.' and '-' only, such as workers"
        ),
    ),
    "checkInterval": (POSITIVE_DURATION, UP_TO_A_YEAR),
    "retryInterval": (POSITIVE_DURATION, UP_TO_A_YEAR),
    "kubeletConfig": (ABSOLUTE_PATH,),
    "kubeadmPath": (
        Rule(
            cel="self == '' || self.startsWith('/')",
            right="{field} must be empty or an absolute path on the host, such as /usr/bin/kubeadm",
        ),
    ),
}
"""Rules of the `upgraded` settings by field, the same on spec.upgraded and in a group."""

RULES: dict[str, tuple[Rule, ...]] = {
    "spec": (
        Rule(
            cel=f"!has(self.via) || !self.kubernetesVersion.matches(r'{VERSION}') || self.via.all(v,"
            f" !v.matches(r'{VERSION}') || (v.split('.')[0] == self.kubernetesVersion.split('.')[0]"
            " && int(v.split('.')[1]) < int(self.kubernetesVersion.split('.')[1])))",
            right="via must name versions of minors below kubernetesVersion's, such as v1.36.4 on the way to v1.37.2",
        ),
    ),
    "spec.kubernetesVersion": (FULL_VERSION,),
    "spec.via": (
        Rule(
            cel=f"self.exists(v, !v.matches(r'{VERSION}')) || (self.map(v, int(v.split('.')[1])).isSorted()"
            " && self.all(v, self.exists_one(w, w.split('.')[1] == v.split('.')[1])))",
            right="{field} must name one version for each minor, in ascending order, such as [v1.35.8, v1.36.4]",
        ),
    ),
    "spec.via[]": (FULL_VERSION,),
    "spec.progressDeadline": (POSITIVE_DURATION, UP_TO_A_YEAR),
    "spec.windows[].schedule": (
        _matches(
            r"^[0-9A-Za-z*/,#-]+( +[0-9A-Za-z*/,#-]+){4}$",
            "{field} must be a cron expression of five fields (minute, hour, day, month, weekday), such as 0 2 * * SAT",
        ),
    ),
    "spec.windows[].duration": (POSITIVE_DURATION, UP_TO_A_MONTH),
    "spec.windows[].timeZone": (
        _matches(
            r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$",
            "{field} must be an IANA time zone, such as Europe/Berlin or UTC",
        ),
    ),
    "spec.freezes[]": (Rule(cel="self.from < self.until", right="until must be later than from"),),
    "spec.upgraded": (
        Rule(
            cel="has(self.fleetlockUrl)",
            right="fleetlockUrl must be set: the URL of the FleetLock server, such as http://fleetlock.example.com:8080",
        ),
    ),
    "spec.groups": (
        Rule(
            cel=f"self.all(name, name.matches(r'{GROUP_NAME}'))",
            right="{field} must be named by at most 63 lower-case letters, digits, '-' and '.', such as control-plane",
        ),
        Rule(
            cel="self.all(name, self[name].dependsOn.all(other, other in self))",
            right="dependsOn must name groups of this plan",
        ),
        Rule(
            cel="self.all(name, !(name in self[name].dependsOn))",
            right="dependsOn must not name the group itself",
        ),
        Rule(cel=_peeled(), right="dependsOn must not lead in a circle: some group must be able to start first"),
    ),
    "spec.groups.*": (
        Rule(
            cel="has(self.selector) != has(self.labels)",
            right="a group must have exactly one of selector and labels",
        ),
    ),
    "spec.groups.*.labels": (
        Rule(cel="self.size() > 0", right="{field} must have at least one entry: without any it matches no node"),
        *LABELS,
    ),
    "spec.groups.*.selector": (
        Rule(
            cel="(has(self.matchLabels) && self.matchLabels.size() > 0)"
            " || (has(self.matchExpressions) && self.matchExpressions.size() > 0)",
            right="{field} must have an entry in matchLabels or matchExpressions: without any it matches no node",
        ),
    ),
    "spec.groups.*.selector.matchLabels": LABELS,
    "spec.groups.*.selector.matchExpressions[]": (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            right="values must be given with In and NotIn, and only with them",
        ),
    ),
    "spec.groups.*.selector.matchExpressions[].key": (
        _matches(LABEL_KEY, "{field} must be a label key, such as topology.kubernetes.io/zone"),
    ),
    "spec.groups.*.maxUnavailable": (
        Rule(
            cel="type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]?|100)%$')",
            right="{field} must be a number from 1 on, or a share from 1% to 100%, such as 2 or 25%",
        ),
    ),
    "spec.groups.*.soak": (ANY_DURATION, UP_TO_A_YEAR),
}
"""Rules by place: `.*` is every entry of a map, `[]` every item of a list."""
