"""Reads kubeadm's last words: every failure is exit code 1, only the sentences differ (seen on 1.35 to 1.37)."""

import re

from kube_upgrade.model.kubeadm import KubeadmProblem

_CHECK = re.compile(r"\[ERROR (\w+)\]: (.*)")
_LIMIT = 400  # characters of a sentence that goes into an annotation

# First match wins: what is more special stands first. A rolled back etcd is also a rolled back control plane.
_SENTENCES: tuple[tuple[str, KubeadmProblem], ...] = (
    ("trying to upgrade the etcd cluster, rolled the state back", KubeadmProblem.ETCD_ROLLED_BACK),
    ("couldn't upgrade control plane", KubeadmProblem.CONTROL_PLANE_ROLLED_BACK),
    ("could not create timestamp directory", KubeadmProblem.TIMESTAMP_COLLISION),
    ("failed to load admin kubeconfig", KubeadmProblem.NOT_CONTROL_PLANE),
    ("minor release higher than the kubeadm minor release", KubeadmProblem.VERSION_SKEW),
    ("the version argument is invalid", KubeadmProblem.VERSION_SKEW),
    ("only supports deploying clusters with the control plane version", KubeadmProblem.VERSION_SKEW),
    ("unknown flag", KubeadmProblem.USAGE),
    ("unknown command", KubeadmProblem.USAGE),
    ("doesn't match patterns for neither semantic version nor labels", KubeadmProblem.USAGE),
    ("the user didn't answer", KubeadmProblem.USAGE),
    ("connection refused", KubeadmProblem.API_UNREACHABLE),
    ("context deadline exceeded", KubeadmProblem.API_UNREACHABLE),
    ("net/http: request canceled", KubeadmProblem.API_UNREACHABLE),
    ("i/o timeout", KubeadmProblem.API_UNREACHABLE),
    ("no such host", KubeadmProblem.API_UNREACHABLE),
)
_CHECKS = {
    "ImagePull": KubeadmProblem.IMAGE_PULL,
    "CoreDNSUnsupportedPlugins": KubeadmProblem.KUBEADM_TOO_OLD,
    "CoreDNSMigration": KubeadmProblem.KUBEADM_TOO_OLD,
}


def problem_in(stderr: str) -> tuple[KubeadmProblem, str]:
    """The cause in a word, and the sentence that tells it, at most 400 characters."""
    checks = _CHECK.findall(stderr)
    if checks:
        kind = next((_CHECKS[name] for name, _ in checks if name in _CHECKS), KubeadmProblem.PREFLIGHT)
        return kind, _cut("; ".join(f"{name}: {text}" for name, text in checks))
    sentence = _error_of(stderr)
    kind = next((kind for words, kind in _SENTENCES if words in sentence), KubeadmProblem.UNKNOWN)
    if kind is KubeadmProblem.UNKNOWN and "failed to pull image" in sentence:
        kind = KubeadmProblem.IMAGE_PULL
    return kind, _cut(sentence)


def _error_of(stderr: str) -> str:
    """The text behind `error: `, with the list that may follow it joined by semicolons; else the last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    starts = [index for index, line in enumerate(lines) if line.startswith("error:")]
    if not starts:
        return lines[-1] if lines else "no message"
    first, *rest = lines[starts[-1] :]
    listed = [line.removeprefix("- ") for line in rest if line.startswith("- ")]
    return " ".join([first.removeprefix("error:").strip(), "; ".join(listed)]).strip()


def _cut(text: str) -> str:
    return text if len(text) <= _LIMIT else text[: _LIMIT - 1] + "…"
