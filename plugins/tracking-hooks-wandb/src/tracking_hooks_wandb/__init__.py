"""Weights & Biases for tracking-hooks. Importing this package does nothing: the training process imports it, too."""
