"""`kube-upgrade locks` against a lock server behind a real socket."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from kube_upgrade.cli.main import app
from support.lock_site import Site, a_site

TOKEN = "t0ken"


async def run(site: Site, *args: str) -> Result:
    """The command as a person types it, beside the running server."""
    argv = ["locks", *args, "--server", f"http://127.0.0.1:{site.port}"]
    return await asyncio.to_thread(CliRunner().invoke, app, argv)


async def test_with_the_read_token_it_lists_and_releases_by_what_the_list_shows(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    token = ("--token-file", str(tmp_path / "token"))
    async with a_site(read_token=TOKEN) as site:
        assert "nobody holds a slot" in (await run(site, "list")).output
        await site.ask("pre-reboot", "a-machine-of-the-fleet")
        shown = json.loads((await run(site, "list", "-o", "json", *token)).output)
        assert [(one["group"], one["id"]) for one in shown] == [("default", "a-machine-of-the-fleet")]

        freed = await run(site, "release", "default", shown[0]["who"], *token)

        assert freed.exit_code == 0
        assert (await site.locks())["default"]["holders"] == []


async def test_without_the_token_it_needs_the_id() -> None:
    async with a_site(read_token=TOKEN) as site:
        await site.ask("pre-reboot", "a-machine-of-the-fleet")
        listed = (await run(site, "list")).output
        assert "a-mac…" in listed
        assert "a-machine-of-the-fleet" not in listed

        refused = await run(site, "release", "default", "a-mac…")
        assert refused.exit_code == 1
        assert "read token" in refused.output
        assert (await run(site, "release", "default", "a-machine-of-the-fleet")).exit_code == 0


async def test_an_id_that_only_looks_like_the_holders_frees_nothing_and_is_told_so() -> None:
    async with a_site(read_token=TOKEN) as site:
        await site.ask("pre-reboot", "0123456789abcdef-the-holder-of-it")
        refused = await run(site, "release", "default", "0123456789abcdef-somebody-else-it")
        assert refused.exit_code == 1
        assert "nothing was freed" in refused.output
        assert len((await site.locks())["default"]["holders"]) == 1  # type: ignore[arg-type]


def test_what_is_logged_stands_on_stderr() -> None:
    """stdout is one JSON value for whoever reads it."""
    late = "atexit.register(lambda: logs.logger('x').warning('said'))"
    program = "import atexit, sys; from kube_upgrade.cli.main import main; from kube_upgrade.telemetry import logs"
    argv = [sys.executable, "-c", f"{program}; {late}; main()", "version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert "said" in done.stderr


async def test_a_token_file_that_is_not_there_is_a_usage_error() -> None:
    async with a_site() as site:
        result = await run(site, "list", "--token-file", "/nowhere/token")

    assert result.exit_code == 2
    assert "/nowhere/token" in result.output
