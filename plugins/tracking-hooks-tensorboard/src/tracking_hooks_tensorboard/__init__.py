"""Tracks a run in TensorBoard: one event file a run, which holds each point once."""
