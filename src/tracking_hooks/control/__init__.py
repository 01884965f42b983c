"""Rules that act on a training: how they are written down, and how they are asked."""
