import pytest

from tracking_hooks.testing.contract import Contract


class TestOffline(Contract):
    plugin = "clearml"


class TestServer(Contract):
    plugin = "clearml"
    stride = 3  # its client asks the server at each start; the other class cuts behind every event

    @pytest.fixture(autouse=True)
    def _servers(self, servers):
        self.start, self.started = servers, {}

    def destination(self, folder):
        server = self.start()
        self.started[server.url] = server
        return {"project": "shapes", "host": server.url, "config": ""}

    def observe(self, destination):
        return self.started[destination["host"]].observe()
