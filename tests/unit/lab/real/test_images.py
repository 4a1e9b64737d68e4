"""Images are kept by content: made once, whole, and the registry gives exactly what a pull needs."""

import json
import os
import tarfile
import time
from pathlib import Path

from kube_upgrade.lab.real.images import IDLE, Image, Store
from kube_upgrade.lab.real.registry import find


def an_image(folder: Path, said: str = "one") -> Image:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin/program").write_text(said)
    (folder / "bin/program").chmod(0o755)
    return Image(
        entrypoint=("/usr/bin/program",),
        files={"/usr/bin/program": folder / "bin/program", "/opt/all": folder / "bin"},
        links={"/usr/bin/also": "program"},
        texts={"/usr/bin/script": "#!/bin/sh\n"},
    )


def test_a_layer_has_every_folder_before_what_is_in_it_and_nothing_twice(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    manifest = json.loads(store.blob(store.image(an_image(tmp_path))).read_bytes())
    with tarfile.open(store.blob(manifest["layers"][0]["digest"])) as layer:
        names = [entry.name for entry in layer]
        program, link = layer.getmember("usr/bin/program"), layer.getmember("usr/bin/also")

    assert len(names) == len(set(names))
    assert {"usr", "usr/bin", "opt/all/program", "usr/bin/script", "tmp"} <= set(names)
    assert all(Path(name).parent == Path() or str(Path(name).parent) in names[:at] for at, name in enumerate(names))
    assert (program.mode, program.uid, program.mtime) == (0o755, 0, 0)
    assert link.linkname == "program"


def test_the_same_files_are_not_packed_again_and_changed_ones_are(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = store.image(an_image(tmp_path))
    blobs = set((tmp_path / "store/sha256").iterdir())
    assert store.image(an_image(tmp_path, "one")) == first
    assert set((tmp_path / "store/sha256").iterdir()) == blobs
    assert store.image(an_image(tmp_path, "another")) != first


def test_only_what_nobody_asked_for_in_days_is_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = an_image(tmp_path / "a"), an_image(tmp_path / "b", "another")
    old, new = store.image(one), store.image(other)
    long_ago = time.time() - 2 * IDLE
    for path in (*(tmp_path / "store/sha256").iterdir(), *(tmp_path / "store/made").iterdir()):
        os.utime(path, (long_ago, long_ago))
    assert store.image(other) == new

    store.prune()

    assert not store.blob(old).exists()
    assert store.blob(new).exists()
    assert store.image(other) == new


def test_the_registry_finds_tags_and_digests_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    digest = store.image(an_image(tmp_path))
    tags = tmp_path / "tags.json"
    tags.write_text(json.dumps({"a/b:v1": digest}))

    by_tag = find(store.folder, tags, "/v2/a/b/manifests/v1?ns=registry.k8s.io")
    assert by_tag == ("application/vnd.oci.image.manifest.v1+json", store.blob(digest))
    assert find(store.folder, tags, f"/v2/a/b/manifests/{digest}") == by_tag
    assert find(store.folder, tags, f"/v2/any/blobs/{digest}") == ("application/octet-stream", store.blob(digest))
    assert find(store.folder, tags, "/v2/a/b/manifests/v2") is None
    assert find(store.folder, tags, "/v2/a/b/blobs/sha256:../../tags.json") is None
    assert find(store.folder, tags, "/v2/a/b/tags/list") is None
