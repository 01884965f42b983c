import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("receivers", Path(__file__).with_name("receivers.py"))
receivers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(receivers)


@pytest.fixture
def webhook():
    with receivers.webhook() as hook:
        yield hook


@pytest.fixture
def mailbox():
    with receivers.mailbox() as box:
        yield box
