"""Who holds what, and a slot back, as an administrator asks for it."""

import asyncio

import pytest

from kube_upgrade.fleetlock.admin import AdminError, ByHttp, ByLeases
from support.lock_world import SECONDS, LockWorld, node_id, pre_reboot


async def test_the_leases_tell_who_holds_and_a_release_through_them_brings_the_node_back() -> None:
    world = LockWorld()
    await world.node("w1")
    admin = ByLeases(api=world.api, namespace="kube-upgrade")
    async with world.server() as replica:
        assert await admin.held() == []
        assert (await pre_reboot(replica, "w1")).status == 200
        assert [(one.group, one.who) for one in await admin.held()] == [("workers", "w1")]

        freed = await admin.release("workers", "w1")

        assert freed.holder.id == node_id("w1")
        async with asyncio.timeout(SECONDS):
            while world.see("w1").unschedulable:  # noqa: ASYNC110 - the server does it when it finds out
                await asyncio.sleep(0.01)


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
