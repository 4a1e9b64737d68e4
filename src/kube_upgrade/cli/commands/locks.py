"""kube-upgrade locks: who holds which slot of the lock server, and a slot back."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from kube_upgrade.fleetlock.admin import AdminError, ByHttp, ByLeases, Held
from kube_upgrade.fleetlock.settings import DEFAULT_NAMESPACE
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.model.moment import time_text

T = TypeVar("T")
Source = ByLeases | ByHttp

FAILED, USAGE = 1, 2

locks = typer.Typer(help="Slots of the lock server: list the holders, release one.", no_args_is_help=True)


class Output(StrEnum):
    """Forms of the list."""

    TEXT = "text"
    JSON = "json"


Server = Annotated[str, typer.Option(help="URL of the lock server; without it its Leases are read.")]
TokenFile = Annotated[Path | None, typer.Option(help="File with the server's read token.")]
Ca = Annotated[Path | None, typer.Option(help="PEM file that the server's certificate is checked against.")]
Kubeconfig = Annotated[Path | None, typer.Option(help="Which cluster; default: as kubectl.")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Where the Leases are.")]


@locks.command("list")
def list_(
    server: Server = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    output: Annotated[Output, typer.Option("-o", "--output", help="Form of the list.")] = Output.TEXT,
) -> None:
    """Who holds a slot, since when."""
    held = _ask(server, token_file, ca, kubeconfig, namespace, lambda source: source.held())
    if output is Output.JSON:
        print(json.dumps([_plain(one) for one in held]))
    elif not held:
        print("nobody holds a slot")
    else:
        _show(held)


@locks.command()
def release(
    group: Annotated[str, typer.Argument(help="The lock group.")],
    who: Annotated[str, typer.Argument(help="A node's name, or the id of a machine outside the cluster.")],
    server: Server = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
) -> None:
    """Free a slot whose holder will not do it. Only for a machine that does not come back: it may be rebooting."""
    freed = _ask(server, token_file, ca, kubeconfig, namespace, lambda source: source.release(group, who))
    print(f"freed the slot of {freed.who} in group {group}, held since {time_text(freed.holder.since)}")


def _ask(
    server: str,
    token_file: Path | None,
    ca: Path | None,
    kubeconfig: Path | None,
    namespace: str,
    question: Callable[[Source], Coroutine[Any, Any, T]],
) -> T:
    async def by_leases() -> T:
        async with KubeApi.connect(kubeconfig, user_agent="kube-upgrade") as api:
            return await question(ByLeases(api=api, namespace=namespace))

    try:
        if not server:
            return asyncio.run(by_leases())
        token = token_file.read_text().strip() if token_file is not None else ""
        return asyncio.run(question(ByHttp(url=server, token=token, ca=ca)))
    except OSError as error:
        _leave(f"--token-file: {error}", USAGE)
    except AdminError as error:
        _leave(str(error), FAILED)


def _leave(why: str, code: int) -> NoReturn:
    sys.stderr.write(f"kube-upgrade locks: {why}\n")
    raise typer.Exit(code)


def _show(held: list[Held]) -> None:
    table = Table("GROUP", "HOLDER", "SINCE", "AGE", "WHY", box=None, pad_edge=False)
    for one in held:
        since = one.holder.since
        hours, minutes = divmod(int((datetime.now(UTC) - since).total_seconds()) // 60, 60)
        table.add_row(
            one.group, one.who, time_text(since.replace(microsecond=0)), f"{hours}h{minutes:02}m", one.holder.reason
        )
    Console().print(table)


def _plain(one: Held) -> dict[str, str]:
    holder = one.holder
    shown = {"group": one.group, "who": one.who, "node": holder.node, "since": time_text(holder.since)}
    return {**shown, "id": holder.id, "reason": holder.reason}
