"""MemoryApi behind HTTP on this machine, for programs that need a kubeconfig."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from kube_upgrade.kube.errors import ApiError
from kube_upgrade.kube.wire.pod import MIRROR
from support.memory_api import MemoryApi


@contextmanager
def serve(memory: MemoryApi, before: Callable[[], None] = lambda: None) -> Iterator[str]:
    """The URL that answers for `memory`; `before` runs ahead of each request, one at a time."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(memory, before))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_kubeconfig(path: Path, url: str) -> None:
    """A kubeconfig without credentials."""
    entry = {"name": "lab", "context": {"cluster": "lab", "user": "lab"}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [entry],
        "clusters": [{"name": "lab", "cluster": {"server": url}}],
        "users": [{"name": "lab", "user": {}}],
    }
    path.write_text(yaml.safe_dump(config))


def mirror(memory: MemoryApi, node: str, manifests: Path) -> None:
    """Do a kubelet's part at once: each manifest has a Ready mirror pod."""
    for path in manifests.glob("*.yaml"):
        manifest = yaml.safe_load(path.read_text())
        name = f"{path.stem}-{node}"
        known = [p for p in memory.get("/api/v1/namespaces/kube-system/pods")["items"] if p["metadata"]["name"] == name]
        if known and known[0]["spec"]["containers"] == manifest["spec"]["containers"]:
            continue
        if known:
            memory.delete(f"/api/v1/namespaces/kube-system/pods/{name}")
        pod = {
            "metadata": {"name": name, "labels": manifest["metadata"]["labels"], "annotations": {MIRROR: "x"}},
            "spec": {**manifest["spec"], "nodeName": node},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }
        memory.create("/api/v1/namespaces/kube-system/pods", pod)


def _handler(memory: MemoryApi, before: Callable[[], None]) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            self._answer(lambda body: memory.get(url.path, dict(parse_qsl(url.query))))

        def do_PATCH(self) -> None:
            self._answer(lambda body: memory.patch(urlsplit(self.path).path, body))

        def _answer(self, act: Callable[[Any], Any]) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = json.loads(self.rfile.read(length)) if length else None
            with lock:
                before()
                try:
                    status, answer = 200, act(body)
                except ApiError as error:
                    status = error.status
                    answer = {"kind": "Status", "code": status, "reason": error.reason, "message": error.message}
            encoded = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return Handler
