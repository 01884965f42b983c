from tracking_hooks.testing.contract import Contract


class TestContract(Contract):
    plugin = "wandb"
    stride = 6  # each of W&B's own processes takes a second to start
