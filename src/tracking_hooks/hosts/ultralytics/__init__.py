"""Ultralytics: its trainers, its tuners and its distributed trainings."""
