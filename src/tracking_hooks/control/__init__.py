"""Rules that act on a training: how they are written, and how they are asked."""
