"""The command line says what is wrong and what would be right."""

import pytest

from kube_upgrade.controller.settings import read_settings


def test_the_environment_is_the_default() -> None:
    settings = read_settings([], {"NODE_NAME": "cp1", "LOG_LEVEL": "debug"})

    assert (settings.node, settings.log_level, settings.port) == ("cp1", "debug", 9090)


def test_two_processes_never_share_an_identity() -> None:
    assert read_settings([], {}).identity != read_settings([], {}).identity


def test_a_listen_address_without_port_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings(["--listen", "localhost"], {})

    assert ended.value.code == 2
    assert "--listen: 'localhost' is not HOST:PORT, such as 127.0.0.1:9090" in capsys.readouterr().err
