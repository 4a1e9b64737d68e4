"""Only what the owner's key signed for this very image is trusted: at a real registry, with real signatures."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kube_upgrade.host.registry import Registry as Client
from kube_upgrade.host.registry_errors import RegistryError, RegistryProblem
from kube_upgrade.host.runner import SubprocessRunner
from kube_upgrade.host.trust import Trust, TrustError, TrustProblem
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.registry_content import digest_of
from kube_upgrade.model.host import Verification
from support.cosign import Signer

KEY = "/etc/pki/containers/cosign.pub"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


@pytest.fixture
def owner(tmp_path: Path) -> Signer:
    """Whose public key is on the host."""
    signer = Signer()
    signer.write(tmp_path / KEY.lstrip("/"))
    return signer


async def check(
    registry: Registry, root: Path, digest: str, *, identity: str = "", keys: tuple[str, ...] = (KEY,)
) -> None:
    trust = Trust(Verification(keys=keys, identity=identity), Client(root), SubprocessRunner(), root=root)
    await trust.check(f"{registry.host}/os:v1.37.2", digest)


async def refusal(registry: Registry, root: Path, digest: str, **how: str) -> TrustError:
    with pytest.raises(TrustError) as refused:
        await check(registry, root, digest, **how)  # type: ignore[arg-type]
    return refused.value


async def test_a_signed_image_passes(registry: Registry, owner: Signer, tmp_path: Path) -> None:
    digest = registry.publish("os", "v1.37.2")
    registry.attach("os", digest, [owner.sign(digest, f"{registry.host}/os")])
    await check(registry, tmp_path, digest)


async def test_behind_a_token_too(owner: Signer, tmp_path: Path) -> None:
    with Registry(token="let-me-in") as registry:
        digest = registry.publish("os", "v1.37.2")
        registry.attach("os", digest, [owner.sign(digest, f"{registry.host}/os")])
        await check(registry, tmp_path, digest)


async def test_a_signature_of_the_index_covers_the_platforms_it_lists(
    registry: Registry, owner: Signer, tmp_path: Path
) -> None:
    digest = registry.publish("os", "v1.37.2")
    index = digest_of(await Client(tmp_path).manifest(f"{registry.host}/os", "v1.37.2"))
    registry.attach("os", index, [owner.sign(index, f"{registry.host}/os")])
    await check(registry, tmp_path, digest)

    other = registry.publish("os", "v1.37.2", build=2, tag="elsewhere")
    assert (await refusal(registry, tmp_path, other)).kind is TrustProblem.UNSIGNED


async def test_one_good_signature_among_strangers_is_enough(registry: Registry, owner: Signer, tmp_path: Path) -> None:
    digest, name = registry.publish("os", "v1.37.2"), f"{registry.host}/os"
    registry.attach("os", digest, [Signer().sign(digest, name), owner.sign(digest, name)])
    await check(registry, tmp_path, digest)


async def test_any_of_several_keys_will_do(registry: Registry, owner: Signer, tmp_path: Path) -> None:
    old = Signer()
    old.write(tmp_path / "etc/old.pub")
    digest = registry.publish("os", "v1.37.2")
    registry.attach("os", digest, [owner.sign(digest, f"{registry.host}/os")])
    await check(registry, tmp_path, digest, keys=("/etc/old.pub", KEY))


async def test_a_mirror_passes_where_the_owner_names_the_original(
    registry: Registry, owner: Signer, tmp_path: Path
) -> None:
    digest = registry.publish("os", "v1.37.2")
    registry.attach("os", digest, [owner.sign(digest, "ghcr.io/owner/os")])
    await check(registry, tmp_path, digest, identity="ghcr.io/owner/os")
    refused = await refusal(registry, tmp_path, digest)
    assert refused.kind is TrustProblem.UNTRUSTED
    assert f"signed as ghcr.io/owner/os, not as {registry.host}/os" in refused.message


async def test_an_unsigned_image_is_refused_and_the_missing_tag_named(
    registry: Registry, owner: Signer, tmp_path: Path
) -> None:
    digest = registry.publish("os", "v1.37.2")
    refused = await refusal(registry, tmp_path, digest)
    assert refused.kind is TrustProblem.UNSIGNED
    assert f"{registry.host}/os:{digest.replace(':', '-')}.sig" in refused.message


@pytest.mark.parametrize(
    ("forgery", "words"),
    [
        ("stranger", "by none of /etc/pki/containers/cosign.pub"),
        ("another image", "the signature is for sha256:"),
        ("payload changed", "by none of"),
        ("another type", "its signed payload is a 'something else'"),
        ("no json", "its signed payload is unreadable"),
        ("no signature at all", "no signatures in cosign's format"),
        ("not base64", "no signatures in cosign's format"),
        ("huge", "has 20000 bytes"),
    ],
)
async def test_no_forgery_passes(registry: Registry, owner: Signer, tmp_path: Path, forgery: str, words: str) -> None:
    digest, name = registry.publish("os", "v1.37.2"), f"{registry.host}/os"
    other = registry.publish("os", "v1.36.3")
    payload, signature = owner.sign(digest, name)
    forged = {
        "stranger": [Signer().sign(digest, name)],
        "another image": [owner.sign(other, name)],
        "payload changed": [(payload.replace(b"null", b"true"), signature)],
        "another type": [owner.sign(digest, name, type="something else")],
        "no json": [(b"{", owner.over(b"{"))],
        "no signature at all": [],
        "not base64": [(payload, "%%%"), (payload, "a\0b"), (payload, "ü")],
        "huge": [(b" " * 20_000, owner.over(b" " * 20_000))],
    }
    registry.attach("os", digest, forged[forgery])
    refused = await refusal(registry, tmp_path, digest)
    assert refused.kind is TrustProblem.UNTRUSTED
    assert words in refused.message


@pytest.mark.parametrize("content", [None, "no key"])
async def test_a_key_that_is_none_lets_nothing_through(
    registry: Registry, owner: Signer, tmp_path: Path, content: str | None
) -> None:
    digest = registry.publish("os", "v1.37.2")
    registry.attach("os", digest, [owner.sign(digest, f"{registry.host}/os")])
    path = tmp_path / KEY.lstrip("/")
    path.unlink() if content is None else path.write_text(content)
    refused = await refusal(registry, tmp_path, digest)
    assert refused.kind is TrustProblem.KEY
    assert "cosign.pub: no PEM public key" in refused.message


async def test_a_registry_that_is_away_is_weather(owner: Signer, registry: Registry, tmp_path: Path) -> None:
    digest = registry.publish("os", "v1.37.2")
    registry.broken = 503
    with pytest.raises(RegistryError) as away:
        await check(registry, tmp_path, digest)
    assert away.value.kind is RegistryProblem.BUSY
