"""A local site of release files, which can be slow, cut files short or publish wrong checksums."""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Files(ThreadingHTTPServer):
    """Serves `files` by path. `hang`: these paths never get an answer; `cut`: the body of these ends half-way;
    `trickle`: these come a byte at a time until the client has had enough."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.hang: set[str] = set()
        self.cut: set[str] = set()
        self.trickle: set[str] = set()
        self.asked: list[str] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Files

    def do_GET(self) -> None:
        site, path = self.server, self.path
        site.asked.append(path)
        if path in site.hang:
            site.over.wait(60)
        elif path not in site.files:
            self.send_error(404)
        else:
            self.answer(site.files[path])

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path in self.server.cut:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif self.path in self.server.trickle:
            self.drip(body)
        else:
            self.wfile.write(body)

    def drip(self, body: bytes) -> None:
        try:
            for byte in body:
                self.wfile.write(bytes([byte]))
                if self.server.over.wait(0.02):
                    return
        except OSError:  # the client has had enough
            pass

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[Files]:
    """Serve these files until the block ends."""
    with Files(files) as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            site.over.set()
            site.shutdown()
            thread.join()


def checksum(data: bytes) -> bytes:
    """What Kubernetes publishes beside a binary."""
    return hashlib.sha256(data).hexdigest().encode()
