"""A proxy that stands before a server and spoils the traffic in the way that it is told."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["pass", "reset", "hang", "delay", "status", "store", "limit", "cut request", "cut answer"]

_CHUNK = 16_384


class Trouble(NamedTuple):
    """What happens to the traffic."""

    kind: Kind = "pass"
    """``reset``: every connection, open or new. ``hang``: nothing goes through, and what was sent meanwhile arrives
    late. ``delay``: each piece. ``status``: every request is answered with it. ``store``: every request to MLflow's
    artifact store is. ``limit``: a request with a body of more bytes is answered with 413. ``cut …``: a connection is
    reset after some bytes in this direction; in ``cut answer`` the server has done what it was asked to."""
    amount: float = 0
    """Seconds of ``delay``, HTTP status, or bytes that are let through."""


class FaultProxy:
    """Forwards TCP from a port of its own; ``set`` says what shall go wrong from now on."""

    def __init__(self, upstream: int) -> None:
        """Make a proxy.

        :param upstream: the server's port
        """
        self.port = 0
        self._upstream = upstream
        self._trouble = Trouble()
        self._left = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def stop(self) -> None:
        self.set(Trouble("reset"))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def set(self, trouble: Trouble) -> None:
        """Let this happen from now on."""
        asyncio.run_coroutine_threadsafe(self._change(trouble), self._loop).result()

    async def _listen(self) -> int:
        self._changed = asyncio.Condition()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _change(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._left = int(trouble.amount)
        if trouble.kind in {
            "reset",
            "status",
            "store",
            "limit",
        }:  # clients that keep their connection shall meet it, too
            for writer in list(self._open):
                _reset(writer)
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        upstream = None
        try:
            if self._trouble.kind == "reset":
                _reset(writer)
                return
            if self._trouble.kind in {"status", "store", "limit"}:
                await self._serve_one(reader, writer)
                return
            from_server, upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
            self._open.add(upstream)
            await asyncio.gather(
                self._forward(reader, upstream, writer, "cut request"),
                self._forward(from_server, writer, upstream, "cut answer"),
            )
        except (OSError, EOFError):
            _reset(writer)
        finally:
            for end in (writer, upstream):
                if end is not None:
                    self._open.discard(end)
                    end.close()

    async def _forward(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, other: asyncio.StreamWriter, cut: Kind
    ) -> None:
        while data := await source.read(_CHUNK):
            async with self._changed:
                await self._changed.wait_for(lambda: self._trouble.kind != "hang")
            if self._trouble.kind == "delay":
                await asyncio.sleep(self._trouble.amount)
            if self._trouble.kind == cut:
                data, self._left = data[: self._left], self._left - len(data)
            target.write(data)
            await target.drain()
            if self._trouble.kind == cut and self._left <= 0:
                self._left = int(self._trouble.amount)
                await asyncio.sleep(0.02)  # what was let through shall arrive before the reset overtakes it
                _reset(target)
                _reset(other)
                return
        target.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request whole; refuse it, or ask the server."""
        head = await reader.readuntil(b"\r\n\r\n")
        _, found, length = head.lower().partition(b"content-length:")
        size = int(length.split(b"\r\n", 1)[0]) if found else 0
        body = await reader.readexactly(size)  # an answer before the whole question would be a reset connection
        kind, amount = self._trouble
        status = 0
        if kind == "status" or (kind == "store" and b"/mlflow-artifacts/" in head.split(b"\r\n", 1)[0]):
            status = int(amount)
        elif kind == "limit" and size > amount:
            status = 413
        if status:
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
            await writer.drain()
            return
        from_server, upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._open.add(upstream)
        try:
            lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
            upstream.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body)
            while data := await from_server.read(_CHUNK):
                writer.write(data)
                await writer.drain()
        finally:
            self._open.discard(upstream)
            upstream.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection as a crash does: with RST, and without what is still to be sent."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
