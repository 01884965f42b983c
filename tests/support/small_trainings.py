"""Has Ultralytics train one epoch of small images, whatever a command says.

A ``.pth`` file in the environment of the documents' reader calls ``install`` when Python starts, so that the commands
stay as they are shown.
"""

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

SMALL = {"epochs": 1, "imgsz": 32, "workers": 0, "amp": False, "device": "cpu"}
PLOTS = "SMALL_TRAININGS_DRAW_PLOTS"
"""An environment variable: pictures take longer than the training."""


class _Finder:
    """Waits for the module that reads the arguments of a training."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != "ultralytics.cfg":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            get_cfg = module.get_cfg

            def get_small(*args, **kwargs):
                arguments = get_cfg(*args, **kwargs)
                vars(arguments).update(SMALL, plots=PLOTS in os.environ)
                return arguments

            module.get_cfg = get_small

        spec.loader.exec_module = exec_module
        return spec


def install() -> None:
    """Wait for Ultralytics to be imported."""
    sys.meta_path.insert(0, _Finder())
