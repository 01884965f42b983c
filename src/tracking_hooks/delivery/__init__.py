"""The relay's process: a journal is delivered to a plugin."""
