"""A plugin that asks a server when it is imported."""

import socket

from tracking_hooks import hookimpl

socket.getaddrinfo("localhost", 9)


class NetworkTracker:
    @hookimpl
    def on_epoch_end(self, epoch):
        """Do nothing."""
