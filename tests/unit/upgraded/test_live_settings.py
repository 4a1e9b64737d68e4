"""config.yaml may change at any time: good ones are followed, bad ones refused with the last good kept."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from kube_upgrade.upgraded.live_settings import LiveSettings
from kube_upgrade.upgraded.settings import Settings, load


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("allowedStreams: [a]\nsettle: 5s\n")
    return path


def rewrite(path: Path, text: str) -> None:
    """As editors and configuration managers do: another file in its place."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def twice(live: LiveSettings) -> Settings:
    """After two looks that find the same file."""
    live.read()
    return live.read()


def test_guards_and_the_nodes_config_are_followed_at_the_second_look(path: Path) -> None:
    live = LiveSettings(path, load(path))
    rewrite(path, "allowedStreams: [b]\nfleetlockUrl: http://lock\n")
    settings = twice(live)
    assert settings.rules.allowed_streams == ("b",)
    assert settings.node.fleetlock_url == "http://lock"
    assert settings.rules.settle == timedelta(seconds=10)


@pytest.mark.parametrize("text", ["drain: [", "drain: maybe", "allowedStreams: a", "", "# nothing\n", "{}"])
def test_a_bad_one_changes_nothing_until_it_is_mended(path: Path, text: str) -> None:
    live = LiveSettings(path, load(path))
    rewrite(path, text)
    assert twice(live).rules.allowed_streams == ("a",)
    rewrite(path, "allowedStreams: [c]\n")
    assert twice(live).rules.allowed_streams == ("c",)


def test_a_file_that_is_gone_takes_no_guard_away(path: Path) -> None:
    live = LiveSettings(path, load(path))
    path.unlink()
    assert twice(live).rules.allowed_streams == ("a",)


def test_paths_wait_for_a_restart(path: Path) -> None:
    live = LiveSettings(path, load(path))
    rewrite(path, "kubeconfig: /other.conf\nallowedStreams: [b]\n")
    assert twice(live).kubeconfig == "/etc/kubernetes/kubelet.conf"
    assert twice(live).rules.allowed_streams == ("b",)


def test_a_file_that_comes_later_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    live = LiveSettings(path, load(path))
    rewrite(path, "allowedStreams: [b]\n")
    assert twice(live).rules.allowed_streams == ("b",)


def test_a_file_that_is_being_written_takes_no_guard_away(path: Path) -> None:
    """Editors, cp and `>` empty a file first and fill it bit by bit."""
    text = "fleetlockUrl: http://lock\nallowedStreams: [b]\n"
    live = LiveSettings(path, load(path))
    with path.open("w") as file:
        assert live.read().rules.allowed_streams == ("a",)
        assert live.read().rules.allowed_streams == ("a",)
        file.write(text[:26])
        file.flush()
        assert live.read().rules.allowed_streams == ("a",)
        file.write(text[26:])
    assert live.read().rules.allowed_streams == ("a",)
    assert live.read().rules.allowed_streams == ("b",)


def test_a_file_that_changes_while_it_is_read_is_read_again(path: Path) -> None:
    """The state after the reading is not the one before: what was read may be half of each."""

    def overtaken(found: Path) -> Settings:
        settings = load(found)
        if settings.rules.allowed_streams == ("b",):
            rewrite(found, "allowedStreams: [c]\n")
        return settings

    live = LiveSettings(path, load(path), load=overtaken)
    rewrite(path, "allowedStreams: [b]\n")
    assert twice(live).rules.allowed_streams == ("a",)
    assert twice(live).rules.allowed_streams == ("c",)
