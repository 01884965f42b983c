"""The rehearsal of a release, up to the upload. To build needs ``build`` and the standard library only."""
