"""A tiny container registry over HTTP: manifests and indexes by tag and by digest, for lab and tests.

With `token` set it sends strangers to its own token server first, as public registries do.
"""

import json
import platform
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from kube_upgrade.lab.registry_content import (
    ARCHITECTURES,
    INDEX_TYPE,
    MANIFEST_TYPE,
    digest_of,
    index,
    manifest,
    signature_manifest,
)


class Registry:
    """Serves from a thread of its own, on a free port of 127.0.0.1, from start() to stop()."""

    def __init__(self, *, token: str = "") -> None:
        self.token = token
        self.broken = 0  # an HTTP status that every request gets, 0 for none
        self.requests: list[str] = []  # paths asked for
        self._documents: dict[tuple[str, str], tuple[str, bytes]] = {}  # (repository, tag or digest)
        self._blobs: dict[tuple[str, str], bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def host(self) -> str:
        """HOST:PORT, as it stands in image references."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End serving; the port is free afterwards."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def publish(
        self, repository: str, version: str, *, build: int = 1, tag: str = "", architectures: tuple[str, ...] = ()
    ) -> str:
        """Let the tag (default: the version) name this build; gives the digest of this machine's platform."""
        own = ARCHITECTURES.get(platform.machine(), platform.machine())
        bodies = {a: manifest(repository, version, build, a) for a in architectures or (own, "other")}
        for body in bodies.values():
            self._documents[repository, digest_of(body)] = (MANIFEST_TYPE, body)
        listed = index(bodies)
        self._documents[repository, digest_of(listed)] = (INDEX_TYPE, listed)
        self._documents[repository, tag or version] = (INDEX_TYPE, listed)
        return digest_of(bodies[own]) if own in bodies else digest_of(listed)

    def publish_single(self, repository: str, version: str, *, tag: str = "") -> str:
        """Let the tag name a manifest without an index; gives its digest."""
        body = manifest(repository, version, 1, "any")
        for name in (tag or version, digest_of(body)):
            self._documents[repository, name] = (MANIFEST_TYPE, body)
        return digest_of(body)

    def attach(self, repository: str, digest: str, signatures: Sequence[tuple[bytes, str]]) -> None:
        """Let the image of this digest have these signatures: payload, and the base64 signature over it."""
        for payload, _ in signatures:
            self._blobs[repository, digest_of(payload)] = payload
        body = signature_manifest(signatures)
        self._documents[repository, f"{digest.replace(':', '-')}.sig"] = (MANIFEST_TYPE, body)

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for one GET."""
        self.requests.append(path)
        url = urlsplit(path)
        if self.broken:
            return self.broken, {}, b""
        if url.path == "/token":
            return 200, {}, json.dumps({"token": self.token, "for": parse_qs(url.query)}).encode()
        if self.token and authorization != f"Bearer {self.token}":
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{self.host}/token",service="lab"'}, b""
        return self._blob(url.path) if "/blobs/" in url.path else self._manifest(url.path)

    def _blob(self, path: str) -> tuple[int, dict[str, str], bytes]:
        repository, _, digest = path.removeprefix("/v2/").rpartition("/blobs/")
        blob = self._blobs.get((repository, digest))
        return (404, {}, b"") if blob is None else (200, {"Content-Type": "application/octet-stream"}, blob)

    def _manifest(self, path: str) -> tuple[int, dict[str, str], bytes]:
        repository, _, name = path.removeprefix("/v2/").rpartition("/manifests/")
        if (repository, name) not in self._documents:
            unknown = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": f"manifest unknown: {name}"}]}
            return 404, {"Content-Type": "application/json"}, json.dumps(unknown).encode()
        kind, body = self._documents[repository, name]
        return 200, {"Content-Type": kind, "Docker-Content-Digest": digest_of(body)}, body


def _handler_for(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = registry.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Requests are kept in `requests`, not printed."""

    return Handler
