"""Rules that act on a training: the ones that people write callbacks for. See the README for each."""
