"""Who holds what, and a slot back, as an administrator asks for it."""

import asyncio
from pathlib import Path

import pytest

from kube_upgrade.core.fleetlock.slots import Wish
from kube_upgrade.fleetlock.admin import AdminError, ByHttp, ByLeases
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.wire.lock import HOLDERS
from support.lock_world import SECONDS, LockWorld, node_id, pre_reboot


async def test_the_leases_tell_who_holds_and_a_release_through_them_brings_the_node_back() -> None:
    world = LockWorld()
    await world.node("w1")
    admin = ByLeases(api=world.api, namespace="kube-upgrade")
    async with world.server() as replica:
        assert (await pre_reboot(replica, "w1")).status == 200
        assert [(one.group, one.who) for one in await admin.held()] == [("workers", "w1")]

        freed = await admin.release("workers", "w1")

        assert freed.holder.id == node_id("w1")
        async with asyncio.timeout(SECONDS):
            while world.see("w1").unschedulable:  # noqa: ASYNC110 - the server does it when it finds out
                await asyncio.sleep(0.01)
        assert await admin.held() == []


async def test_where_no_lock_server_ever_kept_a_slot_it_is_said_where_was_looked() -> None:
    """It may keep them in another namespace, or in PostgreSQL: nobody holds a slot is more than is known."""
    with pytest.raises(AdminError, match=r"namespace elsewhere.*--server"):
        await ByLeases(api=LockWorld().api, namespace="elsewhere").held()


async def test_what_keeps_the_leases_from_us_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[]")
    async with KubeApi.connect(tmp_path / "config", user_agent="test") as api:
        with pytest.raises(AdminError, match=f"{tmp_path}/config: not usable as a kubeconfig"):
            await ByLeases(api=api, namespace="kube-upgrade").held()


async def test_a_slot_that_is_free_by_the_time_is_not_said_to_be_freed() -> None:
    world = LockWorld()
    await world.node("w1")
    late = world.another_api()
    async with world.server() as replica:
        await pre_reboot(replica, "w1")

        def weather(verb: str, path: str) -> None:
            if path.endswith("fleetlock-group-workers"):
                late.weather = fair
                world.memory.patch(path, {"metadata": {"annotations": {HOLDERS: "[]"}}})

        fair, late.weather = late.weather, weather
        with pytest.raises(AdminError, match="nothing was freed"):
            await ByLeases(api=late, namespace="kube-upgrade").release("workers", "w1")


async def test_an_id_that_only_begins_like_a_holders_frees_nothing() -> None:
    world = LockWorld()
    async with world.server() as replica:
        await replica.store.reserve("workers", Wish(id="0123456789abcdef-the-holder-of-it"))
        admin = ByLeases(api=world.api, namespace="kube-upgrade")
        for who in ("0123456789abcdef-the-others", "01234567-and-nobody-of-this-name"):
            with pytest.raises(AdminError, match="holds no slot"):
                await admin.release("workers", who)
        assert (await admin.release("workers", "01234567…")).holder.id == "0123456789abcdef-the-holder-of-it"


async def test_a_holder_that_is_none_is_told_who_is() -> None:
    world = LockWorld()
    await world.node("w1")
    async with world.server() as replica:
        await pre_reboot(replica, "w1")
        with pytest.raises(AdminError, match="'w2' holds no slot; holders: w1"):
            await ByLeases(api=world.api, namespace="kube-upgrade").release("workers", "w2")


async def test_a_server_that_is_not_there_is_named_without_its_path() -> None:
    with pytest.raises(AdminError, match=r"127\.0\.0\.1:1") as refused:
        await ByHttp(url="http://127.0.0.1:1/secret").held()
    assert "secret" not in str(refused.value)
