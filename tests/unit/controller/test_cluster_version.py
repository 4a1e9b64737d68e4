"""The version in kubeadm-config: when it is asked for, and what is said while it cannot be read."""

import asyncio
from dataclasses import dataclass, field

import pytest

from kube_upgrade.controller.cluster_version import MOST_PAUSE, ClusterVersion
from kube_upgrade.kube import paths
from kube_upgrade.kube.errors import BadAnswer, KubeError, ServerError, api_error
from kube_upgrade.kube.wire.kubeadm_config import PATH
from support.async_memory_api import AsyncMemoryApi
from support.builders import NEW, OLD
from support.live import virtual
from support.memory_api import MemoryApi

FORBIDDEN = api_error(403, "Forbidden", "configmaps is forbidden")


@dataclass
class Scene:
    """A cluster at the old version; each read meets `error`, if there is one."""

    memory: MemoryApi = field(default_factory=MemoryApi)
    woken: list[float] = field(default_factory=list)  # seconds
    error: KubeError | None = None

    def __post_init__(self) -> None:
        self.memory.create(paths.configmaps("kube-system"), {"metadata": {"name": "kubeadm-config"}})
        self.write(str(OLD))
        api = AsyncMemoryApi(self.memory, weather=self._meet)
        self.version = ClusterVersion(api, lambda: self.woken.append(asyncio.get_running_loop().time()))

    def write(self, version: str) -> None:
        """As `kubeadm upgrade apply` does."""
        self.memory.patch(PATH, {"data": {"ClusterConfiguration": f"kubernetesVersion: {version}\n"}})

    def _meet(self, verb: str, path: str) -> None:
        if self.error is not None:
            raise self.error


@virtual
async def test_it_is_read_again_only_where_the_evidence_has_changed() -> None:
    scene = Scene()
    assert await scene.version.read("one") == OLD
    scene.write(str(NEW))
    assert await scene.version.read("one") == OLD
    assert await scene.version.read("two") == NEW


@pytest.mark.parametrize("error", [FORBIDDEN, BadAnswer("no JSON")], ids=["403", "unreadable"])
@virtual
async def test_what_was_known_is_not_believed_once_it_cannot_be_read(error: KubeError) -> None:
    """Not even where the evidence is again what it was."""
    scene = Scene()
    await scene.version.read("one")
    scene.error = error
    assert await scene.version.read("two") is None
    assert scene.version.trouble == str(error)
    assert await scene.version.read("one") is None


@virtual
async def test_its_words_stay_while_the_kind_of_trouble_does() -> None:
    """They stand in the status: words that change at each try would be a write at each try."""
    scene = Scene()
    first, second = (api_error(500, "InternalError", f"request {number}: no key to decrypt it") for number in (1, 2))
    scene.error = first
    with pytest.raises(ServerError):
        await scene.version.read("one")
    for error, said in ((first, first), (second, first), (FORBIDDEN, FORBIDDEN)):
        scene.error = error
        assert await scene.version.read("one") is None
        assert scene.version.trouble == str(said)
        await asyncio.sleep(MOST_PAUSE)
    scene.error = None
    assert (await scene.version.read("one"), scene.version.trouble) == (OLD, "")


@pytest.mark.parametrize(("asked", "waited"), [(30.0, 30.0), (3600.0, MOST_PAUSE)])
@virtual
async def test_it_waits_as_long_as_the_server_asks_for_and_no_longer_than_a_minute(asked: float, waited: float) -> None:
    scene = Scene(error=api_error(503, "ServiceUnavailable", "etcd is away", retry_after=asked))
    with pytest.raises(ServerError):
        await scene.version.read("one")
    await scene.version.read("one")
    await asyncio.sleep(MOST_PAUSE + 1)
    assert scene.woken == [waited]
