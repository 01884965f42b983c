"""ClearML plugin of tracking-hooks."""
