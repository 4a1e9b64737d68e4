"""`fleetlock check-config`, and what a bad file does to a start."""

import subprocess
import sys
from pathlib import Path

import pytest

from kube_upgrade.fleetlock.main import main


def test_check_config_tells_what_the_file_comes_to_and_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "s3cret")
    (tmp_path / "prefix").write_text("0123456789abcdef")
    (tmp_path / "config.yaml").write_text(f"""
    server: {{listen: "127.0.0.1:9090", pathPrefixFile: {tmp_path}/prefix}}
    storage: {{type: postgres, postgres: {{address: "db:5432", password: $DB_PASSWORD, database: locks}}}}
    kubernetes: {{drainRetries: 3}}
    groups: {{default: {{slots: 2}}}}
    """)

    main(["check-config", "--env", "--config", str(tmp_path / "config.yaml")])

    said = capsys.readouterr().out
    for part in ("http://127.0.0.1:9090", "locks at db:5432", "default (2)", "secret path prefix", "drainRetries"):
        assert part in said
    assert "s3cret" not in said
    assert "0123456789abcdef" not in said


@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_a_file_that_cannot_be_used_ends_with_2_and_a_sentence(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("storage: {type: valkey}")

    with pytest.raises(SystemExit) as ended:
        main([command, "-c", str(tmp_path / "config.yaml")])

    assert ended.value.code == 2
    assert "fleetlock: storage.type: 'valkey' is not supported" in capsys.readouterr().err


@pytest.mark.parametrize("heavy", ["sqlalchemy", "lightkube", "httpx2"])
def test_what_only_one_store_or_a_cluster_needs_is_not_loaded_for_the_others(heavy: str) -> None:
    """28 MiB and 30 MiB."""
    code = f"import sys, kube_upgrade.fleetlock.main; sys.exit({heavy!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
