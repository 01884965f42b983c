"""Put on ``PYTHONPATH`` by ``tracking-hooks run``: does what PyTorch's autoload does, for every Python below it."""

import importlib.util
import sys
from pathlib import Path

try:
    from tracking_hooks.autoload import install
except ImportError:
    pass  # another environment's interpreter, where tracking-hooks is not installed
else:
    install()

# This module hides the environment's own `sitecustomize`, if it has one: run that too.
_here = Path(__file__).parent
_path = [entry for entry in sys.path if Path(entry or ".").absolute() != _here.absolute()]
for _entry in _path:
    _file = Path(_entry or ".") / "sitecustomize.py"
    if _file.is_file():
        _spec = importlib.util.spec_from_file_location("sitecustomize", _file)
        if _spec and _spec.loader:
            _spec.loader.exec_module(importlib.util.module_from_spec(_spec))
        break
