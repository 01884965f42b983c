"""A web server that gives everybody the same answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    authorization: str


@contextmanager
def answering(status: int, body: str, only_for: str = "") -> Iterator[tuple[str, list[Asked]]]:
    """Give a server's address and the requests that have come.

    :param only_for: the authorization without which the answer is 401
    """
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        server_version = "Teapot/1"
        sys_version = ""

        def answer(self) -> None:
            given = self.headers.get("Authorization", "")
            asked.append(Asked(self.command, self.path, given))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(401 if only_for and given != only_for else status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - as http.server names them

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
