from tracking_hooks.testing.contract import Contract


class TestContract(Contract):
    plugin = "mlflow"
    stride = 3  # tests/faults kills its relays at each of their steps
