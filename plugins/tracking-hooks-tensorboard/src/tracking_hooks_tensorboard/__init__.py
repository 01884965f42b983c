"""Tracks a run in TensorBoard: one event file per run, which holds each point once."""
