"""The built site over http, from a server that counts what it sends."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from built import SITE


class Compressing(SimpleHTTPRequestHandler):
    """Serve the site as a web server does: text compressed. Counts what it sends."""

    sent = 0

    def __init__(self, *asked) -> None:
        super().__init__(*asked, directory=str(SITE))

    def do_GET(self) -> None:
        path = SITE / self.path.partition("?")[0].lstrip("/")
        body = path.read_bytes() if path.is_file() else b""
        small = path.suffix in (".html", ".js", ".css", ".svg")
        body = gzip.compress(body) if small else body
        self.send_response(200 if path.is_file() else 404)
        self.send_header("Content-Type", self.guess_type(path.name))
        if small:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        Compressing.sent += len(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    """Serve the site, and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Compressing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Compressing.sent = 0
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
