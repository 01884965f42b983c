from contextlib import contextmanager

import pytest

from tracking_hooks.testing.contract import Contract
from tracking_hooks_notify import sent


class TestContract(Contract):
    plugin = "notify"
    keeps_values = "none"  # a message tells how a training ended, and no curve

    @pytest.fixture(autouse=True)
    def _receiver(self, webhook, monkeypatch, tmp_path_factory):
        self.webhook, self.monkeypatch, self.channels = webhook, monkeypatch, 0
        monkeypatch.setenv("APPRISE_URLS", webhook.url("unused"))
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))

    @contextmanager
    def half_down(self, destination):
        """There is a second address, and it is down."""
        url, channel = self.webhook.url(destination["channel"]), self.webhook.url("another")
        self.webhook.answers["another"] = 503
        self.monkeypatch.setenv("APPRISE_URLS", f"{url} {channel}")
        yield
        self.webhook.answers.clear()

    def destination(self, folder):
        # The address is in no destination. So each one gets a channel of its own, which the environment names.
        self.channels += 1
        self.monkeypatch.setenv("APPRISE_URLS", self.webhook.url(f"channel-{self.channels}"))
        captured = super().destination(folder)
        return {
            **captured,
            "events": [*captured["events"], "save_checkpoint", "trials"],
            "channel": f"channel-{self.channels}",
        }

    def restart(self):
        sent._MARKS.clear()  # what the process knew; the file stays

    def observe(self, destination):
        runs = {}
        for message in self.webhook.messages.get(destination["channel"], []):  # each one that came in, also twice
            *_, run = message["message"].partition(", event")[0].splitlines()
            runs.setdefault(run, []).append([message["title"], message["type"], message["message"]])
        return [sorted(runs[run]) for run in sorted(runs)]
