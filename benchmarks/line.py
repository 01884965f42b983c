"""A line to a server: everything arrives later, at a limited rate, or not at all; it keeps count of the requests."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REQUEST = re.compile(rb"(?:GET|POST|PUT|PATCH|DELETE|HEAD) \S+ HTTP/1\.1\r\n")
_CHUNK = 1 << 14


class Line:
    """Forwards TCP from a port of its own."""

    def __init__(
        self, upstream: str, *, latency: float = 0.0, rate: float = 0.0, silent_from: Path | None = None
    ) -> None:
        """Make a line; see ``open``.

        :param upstream: the address of the server
        :param latency: seconds added to each request
        :param rate: the most bytes a second towards the server; 0: as many as there are
        :param silent_from: nothing goes through any more from the moment that there is this file
        """
        self.requests: list[list[float]] = []
        """For each request, when it began and when the last of its answer came, by ``time.monotonic``."""
        self._upstream = int(upstream.rpartition(":")[2])
        self._delay, self._rate, self._silent_from = latency / 2, rate, silent_from
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @contextmanager
    def open(self) -> Iterator[str]:
        """Return the address at which the server is reached by this line."""
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        yield f"http://127.0.0.1:{server.result().sockets[0].getsockname()[1]}"
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", self._upstream)
        of_connection: list[list[float]] = []
        try:
            await asyncio.gather(
                self._receive(reader, questions, of_connection, is_question=True),
                self._receive(answers, writer, of_connection, is_question=False),
                return_exceptions=True,
            )
        except asyncio.CancelledError:
            pass  # the line is closed
        finally:
            questions.close()
            writer.close()

    async def _receive(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        of_connection: list[list[float]],
        *,
        is_question: bool,
    ) -> None:
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        sending = asyncio.create_task(self._send(line, writer, None if is_question else of_connection))
        data, due = b"begin", 0.0
        while data:
            data = await reader.read(_CHUNK)
            now = self._loop.time()
            if is_question and _REQUEST.match(data):
                of_connection.append([time.monotonic(), time.monotonic()])
                self.requests.append(of_connection[-1])
            due = max(due, now) + (len(data) / self._rate if is_question and self._rate else 0.0)
            await line.put((due + self._delay, data))
        await sending

    async def _send(
        self,
        line: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        answered: list[list[float]] | None,
    ) -> None:
        while True:
            due, data = await line.get()
            await asyncio.sleep(due - self._loop.time())
            if self._silent_from and self._silent_from.exists():
                await asyncio.Event().wait()
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()
            if answered:
                answered[-1][1] = time.monotonic()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def longest_chain(requests: list[list[float]]) -> int:
    """Return the most requests of which each began when the one before it was answered: a chain is no longer."""
    count, free = 0, 0.0
    for begin, end in sorted(requests, key=lambda request: request[1]):
        if begin >= free:
            count, free = count + 1, end
    return count
