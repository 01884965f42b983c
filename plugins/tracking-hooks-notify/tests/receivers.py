"""Receivers on a free port of this machine: what a chat or a mailbox would show."""

import asyncio
import json
import threading
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.smtp import SMTP


class Webhook:
    """Takes what ``json://`` posts. Each path is a channel."""

    def __init__(self, port, stop):
        self.port, self.messages, self.answers = port, {}, {}
        self.server_is_gone = stop

    def url(self, channel):
        return f"json://user:a-password@127.0.0.1:{self.port}/{channel}"

    def bodies(self, channel):
        return [message["message"] for message in self.messages.get(channel, [])]

    def titles(self, channel):
        return [message["title"] for message in self.messages.get(channel, [])]


@contextmanager
def webhook():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            channel = self.path.strip("/")
            answer = hook.answers.get(channel, 200)
            if answer == 200:
                hook.messages.setdefault(channel, []).append(json.loads(body))
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *_): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:

        def stop():
            server.shutdown()
            server.server_close()

        hook = Webhook(server.server_port, stop)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hook
        server.shutdown()


class _Mailbox:
    def __init__(self):
        self.mails = []

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802 - aiosmtpd names it so
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@contextmanager
def mailbox():
    """A mail server; yields its address and the mails that have come in."""
    box, loop = _Mailbox(), asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: SMTP(box, loop=loop), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"mailto://127.0.0.1:{port}?from=yolo@example.com&to=ada@example.com&mode=insecure", box.mails
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
