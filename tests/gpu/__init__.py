"""What only a GPU can show, for anybody who has one: ``make gpu``.

Each training is a process of its own (``trainer.py``, with the device behind ``device.py``). ``checks.py`` compares
what they tell, and what their trackers hold. ``--device cpu`` rehearses all of it but the calls of CUDA.
"""
