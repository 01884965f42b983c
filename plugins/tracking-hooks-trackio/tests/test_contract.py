from tracking_hooks.testing.contract import Contract


class TestContract(Contract):
    plugin = "trackio"
