"""What lies on disk: a run's journal, its files, who holds it."""
