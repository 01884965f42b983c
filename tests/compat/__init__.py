"""Which versions of other people's packages this works with, shown by a training in each: ``make compat``.

``cells.py`` is the table of them. A cell is the present environment with one package swapped (``environment.py``). In
each of them a network is trained without tracking and with it (``training.py``). What the trackers hold is read there
(``reading.py``) and compared with ``results.csv``, value by value (``comparison.py``). ``results.jsonl`` keeps what
came of it, and ``page.py`` makes ``docs/compatibility.md`` of that.
"""
