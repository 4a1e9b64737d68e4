"""The example that an operator copies is read as it stands, and every setting in it exists."""

from pathlib import Path

import yaml

from kube_upgrade.model.host import HostRules
from kube_upgrade.upgraded.settings import Settings, load, read_settings

EXAMPLE = Path(__file__).parents[3] / "deploy" / "node" / "config.yaml"


def test_the_example_shows_the_defaults_but_for_what_each_host_chooses() -> None:
    settings = load(EXAMPLE)

    assert settings.probes == "127.0.0.1:9091"
    assert settings.rules.allowed_streams == ("ghcr.io/heathcliff26/fcos-k8s",)
    said = yaml.safe_load(EXAMPLE.read_text())
    for chosen in ("probes", "allowedStreams"):
        del said[chosen]
    assert read_settings(said) == Settings(rules=HostRules())
