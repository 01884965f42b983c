import pytest

from tracking_hooks.testing.contract import Contract


class TestTextfile(Contract):
    """As `tracking-hooks plugins --check otel` does."""

    plugin = "otel"


class TestOtlp(Contract):
    plugin = "otel"
    stride = 3  # the other class cuts the same points behind every event
    keeps_values = "all"
    at_least_once = True  # a receiver of OTLP cannot be asked what it has

    @pytest.fixture(autouse=True)
    def _receiver(self, receiver):
        self.receiver = receiver

    def destination(self, folder):
        self.receiver.points.clear()  # each of a test's trackers starts with nothing
        return {"otlp": True, "textfile": None}

    def observe(self, destination):
        """Each point with its time, and with what sent it: what a store of series has. A run is what has one uid."""
        runs = {}
        for point, value in sorted(self.receiver.points.items()):
            runs.setdefault(dict(point[1])["uid"], {})[str(point)] = value
        return list(runs.values())
