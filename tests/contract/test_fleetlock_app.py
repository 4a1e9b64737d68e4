"""FleetLock over HTTP as any client sees it: a replica over the in-memory API, behind a real socket."""

import asyncio
from pathlib import Path

import pytest

from kube_upgrade.core.fleetlock.protocol import BODY_LIMIT, write_request
from kube_upgrade.fleetlock.settings import StoreKind, Tls
from kube_upgrade.fleetlock_client import FleetLock, Granted, Refused
from kube_upgrade.lab.pki import Authority
from support.lock_site import HEADER, SECONDS, Site, a_site
from support.lock_world import LockWorld, node_id


async def test_lock_and_release_are_idempotent() -> None:
    async with a_site() as site:
        assert await site.ask("pre-reboot", "a") == (200, "success")
        assert await site.ask("pre-reboot", "a") == (200, "success")
        assert await site.ask("pre-reboot", "b") == (423, "all_slots_full")
        assert await site.ask("steady-state", "b") == (200, "success")
        assert await site.ask("pre-reboot", "b") == (423, "all_slots_full")
        assert await site.ask("steady-state", "a") == (200, "success")
        assert await site.ask("pre-reboot", "b") == (200, "success")


@pytest.mark.parametrize(
    ("head", "body", "headers", "status", "kind"),
    [
        ("POST /v1/pre-reboot", write_request("default", "a"), (), 400, "missing_fleetlock_header"),
        ("POST /v1/pre-reboot", b"{", (HEADER,), 400, "bad_request"),
        ("POST /v1/pre-reboot", write_request("a_b", "a"), (HEADER,), 400, "bad_request"),
        ("POST /v1/pre-reboot", write_request("nobody", "a"), (HEADER,), 404, "unknown_group"),
        ("POST /v1/steady-state", write_request("nobody", "a"), (HEADER,), 404, "unknown_group"),
        ("POST /v1/pre-reboot", b" " * (BODY_LIMIT + 1), (HEADER,), 413, "body_too_large"),
        ("POST /v1/pre-reboot?x=1", write_request("default", "a"), (HEADER,), 400, "bad_request"),
        ("POST /v1/steady-state?&&=%", write_request("default", "a"), (HEADER,), 400, "bad_request"),
        ("GET /v1/pre-reboot", b"", (HEADER,), 405, "method_not_allowed"),
        ("PUT /v1/steady-state", b"", (HEADER,), 405, "method_not_allowed"),
        ("POST /v1/locks", b"", (HEADER,), 405, "method_not_allowed"),
        ("POST /v1/pre-reboot/", write_request("default", "a"), (HEADER,), 404, "not_found"),
        ("POST /v2/pre-reboot", write_request("default", "a"), (HEADER,), 404, "not_found"),
        ("GET /", b"", (), 404, "not_found"),
    ],
)
async def test_every_refusal_is_a_4xx_with_kind_and_value(
    head: str, body: bytes, headers: tuple[str, ...], status: int, kind: str
) -> None:
    async with a_site() as site:
        code, _, answer = await site.send(head, body, *headers)

    assert (code, answer["kind"]) == (status, kind)
    assert answer["value"]


async def test_content_types_do_not_matter() -> None:
    """Zincati sends none. No query is one that is empty."""
    async with a_site() as site:
        for head, kind in (("POST /v1/pre-reboot", "text/plain"), ("POST /v1/steady-state?", "application/xml")):
            status, _, _ = await site.send(head, write_request("default", "a"), HEADER, f"Content-Type: {kind}")
            assert status == 200


async def test_a_wrong_method_is_told_the_right_one() -> None:
    async with a_site() as site:
        _, headers, _ = await site.send("DELETE /v1/pre-reboot")

    assert headers["allow"] == "POST"


async def test_a_refusal_names_the_holder_and_says_when_to_come_back() -> None:
    async with a_site() as site:
        await site.ask("pre-reboot", "the-holder")
        status, headers, answer = await site.send("POST /v1/pre-reboot", write_request("default", "b"), HEADER)

    assert status == 423
    assert int(headers["retry-after"]) > 0
    assert "th…" in answer["value"]
    assert "the-holder" not in answer["value"]


async def test_waiting_clients_are_served_first_come_first_served() -> None:
    served: list[str] = []

    async def wait(site: Site, id: str) -> None:
        assert await site.ask("pre-reboot", id) == (200, "success")
        served.append(id)
        assert await site.ask("steady-state", id) == (200, "success")

    async with a_site(hold=SECONDS) as site:
        await site.ask("pre-reboot", "holder")
        clients = []
        for number, id in enumerate("cab", start=1):
            clients.append(asyncio.create_task(wait(site, id)))
            await waiting(site, number)
        await site.ask("steady-state", "holder")
        await asyncio.gather(*clients)

    assert served == list("cab")


async def waiting(site: Site, number: int) -> None:
    """Return when so many requests wait."""
    async with asyncio.timeout(SECONDS):
        while (await site.locks())["default"]["waiting"] != number:  # noqa: ASYNC110 - seen through HTTP
            await asyncio.sleep(0.01)


async def test_a_client_that_hung_up_gets_no_slot() -> None:
    async with a_site(hold=SECONDS) as site:
        await site.ask("pre-reboot", "holder")
        _, writer = await site.open("POST /v1/pre-reboot", write_request("default", "gone"), HEADER)
        await waiting(site, 1)
        writer.close()
        await waiting(site, 0)
        await site.ask("steady-state", "holder")

        assert await site.ask("pre-reboot", "next") == (200, "success")


async def test_a_replica_that_stops_lets_held_requests_go() -> None:
    async with a_site(hold=SECONDS) as site:
        await site.ask("pre-reboot", "holder")
        asking = asyncio.create_task(site.ask("pre-reboot", "b"))
        await waiting(site, 1)
        site.stopping.set()

        async with asyncio.timeout(2.0):
            assert await asking == (503, "unavailable")


async def test_probes_and_metrics() -> None:
    async with a_site() as site:
        assert (await site.send("GET /healthz"))[2] == {"status": "ok", "error": ""}
        assert (await site.send("GET /readyz"))[0] == 200
        reader, writer = await site.open("GET /metrics")
        text = (await reader.read()).decode()
        writer.close()

    assert 'fleetlock_slots{group="default"} 1.0' in text


PREFIX = "0123456789abcdef"


async def test_below_a_secret_prefix_and_nowhere_else() -> None:
    body = write_request("default", "a-client-of-ours")
    async with a_site(path_prefix=PREFIX) as site:
        assert (await site.send(f"POST /{PREFIX}/v1/pre-reboot", body, HEADER))[0] == 200
        for path in ("/v1/pre-reboot", "/wrong-prefix-here/v1/pre-reboot", f"/{PREFIX}x/v1/pre-reboot", f"/{PREFIX}"):
            status, _, answer = await site.send(f"POST {path}", body, HEADER)
            assert (status, answer["kind"]) == (404, "not_found")
        assert (await site.send("GET /v1/locks"))[0] == 404
        assert (await site.send(f"GET /{PREFIX}/healthz"))[0] == 404
        assert (await site.send("GET /healthz"))[0] == 200
        assert "a-client-of-ours" in str(await site.send(f"GET /{PREFIX}/v1/locks"))


async def test_ids_are_shown_for_the_read_token_only() -> None:
    async with a_site(read_token="t0ken") as site:
        await site.ask("pre-reboot", "a-client-of-ours")
        for headers in ((), ("Authorization: Bearer wrong",), ("Authorization: Bearer ",)):
            assert "a-client-of-ours" not in str(await site.send("GET /v1/locks", b"", *headers))
        assert "a-client-of-ours" in str(await site.send("GET /v1/locks", b"", "Authorization: Bearer t0ken"))


async def test_without_a_token_nothing_passes_for_one() -> None:
    async with a_site() as site:
        await site.ask("pre-reboot", "a-client-of-ours")
        assert "a-client-of-ours" not in str(await site.send("GET /v1/locks", b"", "Authorization: Bearer "))


async def test_the_id_of_a_node_is_taken_from_its_own_address_only() -> None:
    """127.0.0.1 is the address of w1's Node, and not of w2's; a machine outside the cluster has none."""
    world = LockWorld()
    await world.node("w1")
    await world.node("w2", address="10.0.0.2")
    async with a_site(world=world, check_source=True) as site:
        assert await site.ask("pre-reboot", node_id("w2")) == (403, "wrong_source_address")
        assert await site.ask("steady-state", node_id("w2")) == (403, "wrong_source_address")
        assert await site.ask("pre-reboot", node_id("w1")) == (200, "success")
        assert await site.ask("steady-state", node_id("w1")) == (200, "success")
        assert await site.ask("pre-reboot", "zincati") == (200, "success")


async def test_more_waiting_requests_than_are_allowed_are_turned_away() -> None:
    async with a_site(hold=SECONDS, max_waiting=1) as site:
        await site.ask("pre-reboot", "holder")
        _, writer = await site.open("POST /v1/pre-reboot", write_request("default", "first"), HEADER)
        await waiting(site, 1)

        assert await site.ask("pre-reboot", "second") == (503, "unavailable")
        writer.close()


async def test_endless_headers_are_refused() -> None:
    async with a_site() as site:
        reader, writer = await site.open("POST /v1/pre-reboot", b"", f"X: {'x' * 100_000}")
        line = await reader.readline()
        writer.close()

    assert line == b"" or b" 400 " in line or b" 431 " in line


async def test_without_a_cluster_slots_are_kept_in_a_file_and_granted_without_a_drain(tmp_path: Path) -> None:
    """A fleet of Zincati hosts: no kubeconfig, SQLite, and a restart forgets nobody."""
    file = tmp_path / "locks.db"
    async with a_site(store=StoreKind.SQLITE, sqlite=file, cluster=False) as site:
        assert await site.ask("pre-reboot", "a") == (200, "success")
    async with a_site(store=StoreKind.SQLITE, sqlite=file, cluster=False) as site:
        assert await site.ask("pre-reboot", "b") == (423, "all_slots_full")
        assert await site.ask("steady-state", "a") == (200, "success")
        assert await site.ask("pre-reboot", "b") == (200, "success")


async def test_over_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    authority = Authority.create("fleet")
    (tmp_path / "ca.pem").write_bytes(authority.pair.certificate)
    files = authority.server("locks", ["127.0.0.1"]).write(tmp_path, "tls")
    tls = Tls(cert=files.certificate, key=files.key)
    async with a_site(tls=tls, path_prefix=PREFIX) as site:
        url = f"https://127.0.0.1:{site.port}/{PREFIX}/"
        async with FleetLock(url, "default", "a-client", ca=tmp_path / "ca.pem") as lock:
            assert isinstance(await lock.pre_reboot(), Granted)
            assert isinstance(await lock.steady_state(), Granted)
        async with FleetLock(url, "default", "a-client") as stranger:
            answer = await stranger.pre_reboot()
    assert isinstance(answer, Refused)
    assert (answer.kind, answer.status) == ("unreachable", 0)
