"""A container registry over HTTP on a node's loopback: blobs of a store, tags of a run. Only what pulls need.

`python -m kube_upgrade.lab.real.registry STORE TAGS PORT`; TAGS is a JSON file {"REPOSITORY:TAG": "DIGEST"}, read again
at each request.
"""

import json
import shutil
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

CONFIG = {"manifests": "application/vnd.oci.image.manifest.v1+json", "blobs": "application/octet-stream"}


def find(store: Path, tags: Path, path: str) -> tuple[str, Path] | None:
    """Content type and file of /v2/REPOSITORY/manifests|blobs/NAME; None where there is nothing."""
    words = urlsplit(path).path.removeprefix("/v2/").rsplit("/", 2)
    if len(words) != 3 or words[1] not in CONFIG:
        return None
    repository, kind, name = words
    digest = name if ":" in name else json.loads(tags.read_text()).get(f"{repository}:{name}", "")
    file = store / digest.replace(":", "/")
    if not digest.startswith("sha256:") or "/" in digest or not file.is_file():
        return None
    return _type(kind, file), file


def _type(kind: str, file: Path) -> str:
    """A manifest says itself what it is."""
    return str(json.loads(file.read_bytes())["mediaType"]) if kind == "manifests" else CONFIG[kind]


def handler(store: Path, tags: Path) -> type[BaseHTTPRequestHandler]:
    """Answers GET and HEAD."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            if urlsplit(self.path).path in ("/v2", "/v2/"):
                self._head(200, {"Content-Type": "application/json", "Content-Length": "0"})
                return
            found = find(store, tags, self.path)
            if found is None:
                said = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}).encode()
                self._head(404, {"Content-Type": "application/json", "Content-Length": str(len(said))})
                self.wfile.write(said if body else b"")
                return
            kind, file = found
            digest = f"sha256:{file.name}"
            size = str(file.stat().st_size)
            self._head(200, {"Content-Type": kind, "Content-Length": size, "Docker-Content-Digest": digest})
            if body:
                with file.open("rb") as data:
                    shutil.copyfileobj(data, self.wfile, 1024 * 1024)

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

    return Handler


def main() -> None:
    """Serve until killed."""
    store, tags, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    server = ThreadingHTTPServer(("127.0.0.1", port), handler(store, tags))
    server.daemon_threads = True
    server.serve_forever(0.5)


if __name__ == "__main__":
    main()
