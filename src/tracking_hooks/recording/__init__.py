"""The training process: one run is recorded, and its relays are looked after."""
