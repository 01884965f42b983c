"""A gate before a web server, which lets only some requests through."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

_ONE_LEG_ONLY = {"connection", "content-length", "expect", "transfer-encoding"}


class Request(NamedTuple):
    """What has passed, and when it came and was answered."""

    began: float
    ended: float
    what: str


class Gate:
    """Stands before a web server and lets only some requests through."""

    def __init__(self, upstream: str, allows: Callable[[BaseHTTPRequestHandler], bool]) -> None:
        """Make a gate.

        :param upstream: the server's address
        :param allows: says of a request, by its ``headers`` and ``path``, whether it may pass; can be changed
        """
        self.allows = allows
        self.status = 401
        """The answer to a request that may not pass."""
        self.answer = b"not without a pass"
        self.passed: list[str] = []
        self.refused: list[str] = []
        self.requests: list[Request] = []
        """Those that have passed, in the order of their answers."""
        self._upstream = upstream.removeprefix("http://")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def open(self) -> Iterator[Gate]:
        """Be there for a while."""
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self.forward
                raise AttributeError(name)

            def forward(self) -> None:
                body, began = self._body(), time.monotonic()
                if not gate.allows(self):
                    gate.refused.append(self.path)
                    self._answer(gate.status, {"Content-Type": "text/plain"}, gate.answer)
                    return
                gate.passed.append(self.path)
                connection = http.client.HTTPConnection(gate._upstream)
                # With the host's name as it came: signatures may be over it.
                connection.request(self.command, self.path, body, _passed_on(self.headers))
                answer = connection.getresponse()
                size = answer.headers.get("Content-Length") if self.command == "HEAD" else None
                self._answer(answer.status, _passed_on(answer.headers), answer.read(), size)
                connection.close()
                gate.requests.append(Request(began, time.monotonic(), f"{self.command} {self.path}"))

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def _answer(self, status: int, headers: dict[str, str], body: bytes, size: str | None = None) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", size or str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _passed_on(headers: Message) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _ONE_LEG_ONLY}
