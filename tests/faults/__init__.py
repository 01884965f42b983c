"""Fault injection: whatever dies, in the end every tracker holds what an undisturbed run would have given it.

``test_crashes.py`` lets the relay die at every step of a short run; ``test_sequences.py`` and
``python -m tests.faults`` play seeded random sequences of faults while a recorded training is replayed. ``model.py``
plays them by thousands against the deliverer alone, in a simulated world.
"""
