"""Rules that act on a training, in place of callbacks that people often write. The README explains each."""
