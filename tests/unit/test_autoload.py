"""How we get into the training process: unseen, once, and without ever breaking it."""

import os
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest

from tracking_hooks import autoload

CALLBACKS = '''
"""Stands for Ultralytics' own."""

from .base import add_integration_callbacks

__all__ = ("add_integration_callbacks",)
'''
BASE = """
added = []

def add_integration_callbacks(instance):
    added.append(instance)
"""
# What each script begins with: our side of the seam is replaced by a note of who was attached.
ATTACHED = """
import sys, types
host = types.ModuleType("tracking_hooks.hosts.ultralytics.callbacks")
host.attached = []

def add_integration_callbacks(original, instance):
    original(instance)
    host.attached.append(instance)

host.add_integration_callbacks = add_integration_callbacks
sys.modules[host.__name__] = host
"""


@pytest.fixture
def ultralytics(tmp_path):
    """A folder with a package that has Ultralytics' shape."""
    package = tmp_path / "site" / "ultralytics"
    callbacks = package / "utils" / "callbacks"
    callbacks.mkdir(parents=True)
    for folder in (package, package / "utils"):
        (folder / "__init__.py").touch()
    (callbacks / "__init__.py").write_text(CALLBACKS)
    (callbacks / "base.py").write_text(BASE)
    return package.parent


@pytest.fixture
def script(python, ultralytics, monkeypatch):
    """Run a script where this package is importable and a tracker is asked for."""

    def run(body, **variables):
        monkeypatch.setenv("PYTHONPATH", str(ultralytics), prepend=os.pathsep)
        return python(ATTACHED + dedent(body), **{"TRACKING_HOOKS": "notes", **variables})

    return run


def test_pytorch_finds_us():
    (point,) = entry_points(group="torch.backends", name="tracking_hooks")
    assert point.value == "tracking_hooks.autoload:install"


def test_importing_us_imports_nothing_else(python):
    done = python(
        """
        import sys
        import tracking_hooks, tracking_hooks.autoload
        tracking_hooks.autoload.install()
        print(sorted({"pluggy", "msgspec", "psutil", "rich", "click", "ultralytics", "torch"} & sys.modules.keys()))
        """
    )
    assert done.stdout == "[]\n"
    assert done.stderr == ""


def test_a_trainer_that_is_built_is_attached(script):
    script(
        """
        from tracking_hooks.autoload import install
        install()
        from ultralytics.utils import callbacks
        from ultralytics.utils.callbacks import base
        callbacks.add_integration_callbacks("trainer")
        assert base.added == ["trainer"], "Ultralytics' own come first"
        assert host.attached == ["trainer"]
        """
    )


def test_a_tracker_whose_loader_is_of_the_old_kind_can_be_imported_all_the_same(monkeypatch):
    class Finder:
        def find_spec(self, name, *_):
            return ModuleSpec(name, object()) if name == "a_tracker" else None

    monkeypatch.setattr(sys, "meta_path", [autoload._Finder(), Finder(), *sys.meta_path])
    monkeypatch.setattr(autoload, "_awaited", {})
    autoload.when_imported("a_tracker", print)
    assert find_spec("a_tracker") is not None


@pytest.mark.parametrize("selection", ["", " ", "none", "off", "OFF", "0"])
def test_where_no_tracker_is_asked_for_nothing_happens(script, selection):
    done = script(
        """
        from tracking_hooks.autoload import install
        install()
        from ultralytics.utils import callbacks
        callbacks.add_integration_callbacks("trainer")
        assert host.attached == []
        assert "pluggy" not in sys.modules
        """,
        TRACKING_HOOKS=selection,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["TRACKING_HOOK", "TRACKINGHOOKS", "tracking_hooks"])
def test_a_misspelt_selection_is_named_once_instead_of_tracking_nothing_silently(script, name):
    done = script(
        """
        from tracking_hooks.autoload import install
        install()
        from ultralytics.utils import callbacks
        callbacks.add_integration_callbacks("trainer")
        callbacks.add_integration_callbacks("trainer")
        assert host.attached == []
        """,
        **{"TRACKING_HOOKS": "", name: "mlflow"},
    )
    assert done.stderr.splitlines() == [
        f"tracking-hooks: {name} is not a setting, and nothing is tracked. Did you mean TRACKING_HOOKS?"
    ]


def test_the_variable_counts_when_a_trainer_is_built(script):
    script(
        """
        import os
        from tracking_hooks.autoload import install
        install()
        from ultralytics.utils import callbacks
        callbacks.add_integration_callbacks(1)
        os.environ["TRACKING_HOOKS"] = "notes"
        callbacks.add_integration_callbacks(2)
        del os.environ["TRACKING_HOOKS"]
        callbacks.add_integration_callbacks(3)
        assert host.attached == [2]
        """,
        TRACKING_HOOKS="",
    )


def test_attach_sets_the_variable_for_child_processes_too(script):
    script(
        """
        import os
        import tracking_hooks
        from ultralytics.utils import callbacks
        tracking_hooks.attach("mlflow")
        assert os.environ["TRACKING_HOOKS"] == "mlflow"
        callbacks.add_integration_callbacks("trainer")
        assert host.attached == ["trainer"]
        """
    )


def test_a_module_that_was_imported_before_is_wrapped_too(script):
    script(
        """
        from ultralytics.utils import callbacks
        from tracking_hooks.autoload import install
        install()
        callbacks.add_integration_callbacks("trainer")
        assert host.attached == ["trainer"]
        """
    )


@pytest.mark.parametrize("before", ["", "from ultralytics.utils import callbacks"])
def test_to_install_twice_attaches_once(script, before):
    script(
        f"""
        from tracking_hooks.autoload import install
        install()
        {before}
        install()
        finders = len(sys.meta_path)
        install()
        assert len(sys.meta_path) == finders
        from ultralytics.utils import callbacks
        install()
        callbacks.add_integration_callbacks("trainer")
        assert host.attached == ["trainer"]
        """
    )


def test_our_own_reload_attaches_once(script):
    script(
        """
        import importlib
        import tracking_hooks.autoload as autoload
        autoload.install()
        importlib.reload(autoload).install()
        from ultralytics.utils import callbacks
        callbacks.add_integration_callbacks("trainer")
        assert host.attached == ["trainer"]
        """
    )


@pytest.mark.parametrize(
    "again",
    [
        "importlib.reload(callbacks)",
        """
        for name in [name for name in sys.modules if name.startswith("ultralytics")]:
            del sys.modules[name]
        """,
    ],
    ids=["reloaded", "purged and imported again"],
)
def test_a_module_that_is_imported_again_is_wrapped_again(script, again):
    script(
        "import importlib\n"
        "from tracking_hooks.autoload import install\n"
        "install()\n"
        "from ultralytics.utils import callbacks\n" + dedent(again) + "\nfrom ultralytics.utils import callbacks\n"
        "callbacks.add_integration_callbacks('trainer')\n"
        "assert host.attached == ['trainer'], host.attached\n"
    )


def test_the_wrapped_module_looks_as_before(script):
    script(
        """
        import inspect, pkgutil
        from tracking_hooks.autoload import install
        install()
        from ultralytics.utils import callbacks
        assert "Stands for Ultralytics' own" in inspect.getsource(callbacks)
        assert callbacks.__doc__ == "Stands for Ultralytics' own."
        assert callbacks.__spec__.origin == callbacks.__file__
        assert callbacks.__spec__.loader is callbacks.__loader__
        assert callbacks.add_integration_callbacks.__name__ == "add_integration_callbacks"
        assert "added.append" in inspect.getsource(callbacks.add_integration_callbacks)
        assert pkgutil.get_data("ultralytics.utils.callbacks", "base.py")
        """
    )


TRAINER = """
class BaseTrainer:
    def train(self):
        self.callback()
"""
ONE_OF_OURS = ["wrapper"] if sys.version_info < (3, 11) else []
FAILING = """
import sys, traceback, types
host = types.ModuleType("tracking_hooks.hosts.ultralytics.training")
exec("def train(original, trainer): return original(trainer)", vars(host))
sys.modules[host.__name__] = host
from tracking_hooks.autoload import install
install()
from ultralytics.engine.trainer import BaseTrainer

def users_own(self):
    {raises}

BaseTrainer.callback = users_own
try:
    BaseTrainer().train()
except BaseException as error:
    for frame in traceback.extract_tb(error.__traceback__):
        print(frame.name)
"""


@pytest.mark.parametrize("selection", ["", "notes"])
@pytest.mark.parametrize("raises", ["raise ValueError", "raise KeyboardInterrupt", "sys.exit(3)"])
def test_the_traceback_of_a_users_error_has_no_frame_of_ours(script, ultralytics, selection, raises):
    (ultralytics / "ultralytics/engine").mkdir()
    (ultralytics / "ultralytics/engine/trainer.py").write_text(TRAINER)
    done = script(FAILING.format(raises=raises), TRACKING_HOOKS=selection)
    assert done.stdout.split() == ["<module>", *ONE_OF_OURS, "train", "users_own"]


def test_the_traceback_of_an_error_that_we_raise_says_where(script, ultralytics):
    (ultralytics / "ultralytics/engine").mkdir()
    (ultralytics / "ultralytics/engine/trainer.py").write_text(TRAINER)
    done = script(FAILING.format(raises="import tracking_hooks.redact; tracking_hooks.redact.text(None)"))
    assert done.stdout.split() == ["<module>", *ONE_OF_OURS, "train", "users_own", "text"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 keeps frames")
def test_an_ultralytics_that_cannot_be_imported_says_so_without_a_frame_of_ours(script, ultralytics):
    (ultralytics / "ultralytics/utils/callbacks/__init__.py").write_text("import no_such_module")
    done = script(
        """
        import traceback
        from tracking_hooks.autoload import install
        install()
        try:
            import ultralytics.utils.callbacks
        except ImportError as error:
            print([frame.name for frame in traceback.extract_tb(error.__traceback__)])
        """
    )
    assert done.stdout == "['<module>', '<module>']\n"


def test_threads_that_import_at_once_find_it_wrapped_once(script):
    script(
        """
        import threading
        from tracking_hooks.autoload import install
        barrier = threading.Barrier(16)
        failures = []

        def work(number):
            try:
                barrier.wait()
                install()
                from ultralytics.utils.callbacks import add_integration_callbacks
                add_integration_callbacks(number)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=[number]) for number in range(16)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not failures, failures
        assert sorted(host.attached) == list(range(16)), host.attached
        """
    )


def test_a_finder_of_somebody_else_that_has_our_finders_name_is_not_taken_for_ours(script):
    script(
        """
        class _Finder:
            def find_spec(self, name, path, target=None):
                return None

        sys.meta_path.insert(0, _Finder())
        from tracking_hooks.autoload import install
        install()
        from ultralytics.utils import callbacks
        callbacks.add_integration_callbacks("trainer")
        assert host.attached == ["trainer"]
        """
    )


# -- what must not break --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order", ["install(); import ultralytics.utils.callbacks", "import ultralytics.utils.callbacks; install()"]
)
def test_an_unknown_ultralytics_costs_one_line(script, ultralytics, order):
    (ultralytics / "ultralytics/utils/callbacks/__init__.py").write_text("")
    done = script(f"from tracking_hooks.autoload import install\n{order}\n")
    assert len(done.stderr.splitlines()) == 1
    assert "not supported" in done.stderr


def test_a_part_of_us_that_cannot_be_imported_costs_one_line_and_no_function(script):
    done = script(
        """
        from tracking_hooks import autoload
        double = autoload._wrapped(lambda number: 2 * number, "ultralytics.not_there:double")
        print([double(number) for number in range(100)] == list(range(0, 200, 2)))
        """
    )
    assert done.stdout == "True\n"
    assert len(done.stderr.splitlines()) == 1
    assert "not active (ModuleNotFoundError" in done.stderr


OLD_TRAINER = """
class BaseTrainer:
    def __init__(self, overrides=None):
        print("Ultralytics prints its arguments")
"""


def test_the_first_releases_of_ultralytics_train_on_and_one_sentence_says_that_they_are_too_old(python, ultralytics):
    shutil.rmtree(ultralytics / "ultralytics/utils")
    (ultralytics / "ultralytics/yolo/engine").mkdir(parents=True)
    (ultralytics / "ultralytics/yolo/engine/trainer.py").write_text(OLD_TRAINER)
    done = python(
        """
        import sys
        sys.stderr = sys.stdout  # to see which comes first
        from tracking_hooks.autoload import install
        install()
        from ultralytics.yolo.engine.trainer import BaseTrainer
        BaseTrainer()
        BaseTrainer(overrides={})
        """,
        PYTHONPATH=os.pathsep.join([str(ultralytics), os.environ.get("PYTHONPATH", "")]),
        TRACKING_HOOKS="notes",
    )
    said, *trained = done.stdout.splitlines()
    assert said.startswith("tracking-hooks: not active (ModuleNotFoundError: No module named 'ultralytics")
    assert said.endswith("this release of ultralytics is not supported. To update it: pip install -U ultralytics")
    assert trained == ["Ultralytics prints its arguments"] * 2


BAR_OF_TQDM = """
from tracking_hooks.autoload import install

install()  # as PyTorch does, which is imported here

class TQDM:
    pass
"""


def test_the_bars_of_an_older_ultralytics_are_seen_although_its_import_of_pytorch_brings_us(script, ultralytics):
    (ultralytics / "ultralytics/__init__.py").write_text("import ultralytics.utils\n")
    (ultralytics / "ultralytics/utils/__init__.py").write_text(BAR_OF_TQDM)
    (ultralytics / "ultralytics/engine").mkdir()
    (ultralytics / "ultralytics/engine/trainer.py").write_text("from ultralytics.utils import TQDM\n")
    done = script(
        """
        bars = types.ModuleType("tracking_hooks.hosts.ultralytics.bars")
        bars.begin = lambda original, bar: print("seen")
        sys.modules[bars.__name__] = bars
        from ultralytics.engine import trainer
        from ultralytics.utils import TQDM
        TQDM()
        """
    )
    assert (done.stdout, done.stderr) == ("seen\n", "")


def test_an_unknown_ultralytics_costs_nothing_where_no_tracker_is_asked_for(script, ultralytics):
    (ultralytics / "ultralytics/utils/callbacks/__init__.py").write_text("")
    done = script(
        "from tracking_hooks.autoload import install\ninstall(); import ultralytics.utils.callbacks\n",
        TRACKING_HOOKS="",
    )
    assert done.stderr == ""


def test_where_the_module_is_not_there_its_import_fails_as_ever(script, ultralytics):
    (ultralytics / "ultralytics/utils/callbacks").rename(ultralytics / "another")
    script(
        """
        from tracking_hooks.autoload import install
        install()
        try:
            import ultralytics.utils.callbacks
        except ModuleNotFoundError as error:
            assert error.name == "ultralytics.utils.callbacks"
        else:
            raise AssertionError
        """
    )


@pytest.mark.parametrize(
    "trouble",
    [
        "sys.meta_path = None",
        "sys.meta_path = ()",
        "sys.stderr.close(); sys.modules['ultralytics.utils.callbacks'] = types.ModuleType('without a seam')",
        "sys.stderr = None; sys.modules['ultralytics.utils.callbacks'] = types.ModuleType('without a seam')",
        "sys.modules['ultralytics.utils.callbacks'] = 'no module'",
    ],
)
def test_install_never_raises(script, trouble):
    script(
        f"""
        from tracking_hooks.autoload import install
        meta_path = sys.meta_path
        {trouble}
        try:
            install()
        finally:
            sys.meta_path = meta_path
        """
    )


def test_an_ultralytics_in_a_zip_is_tracked_and_its_other_modules_load_as_ever(script, ultralytics, tmp_path):
    (ultralytics / "ultralytics/utils/checks.py").write_text("passed = True\n")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", ultralytics)
    shutil.rmtree(ultralytics)
    script(
        f"""
        sys.path.insert(0, {archive!r})
        from tracking_hooks.autoload import install
        install()
        from ultralytics.utils import callbacks
        from ultralytics.utils.checks import passed
        callbacks.add_integration_callbacks("trainer")
        assert "zipimporter" in type(callbacks.__loader__).__name__
        assert host.attached == ["trainer"]
        """
    )


def test_a_loader_that_cannot_be_changed_loads_as_ever(script, ultralytics):
    """Those of compiled applications are such."""
    script(
        """
        from importlib.machinery import PathFinder
        from importlib.util import spec_from_loader

        class Loader:
            __slots__ = ("loader",)

            def __init__(self, loader):
                self.loader = loader

            def create_module(self, spec):
                return None

            def exec_module(self, module):
                self.loader.exec_module(module)

        class Finder:
            @staticmethod
            def find_spec(name, path, target=None):
                spec = PathFinder.find_spec(name, path, target) if name.startswith("ultralytics") else None
                if spec:
                    spec.loader = Loader(spec.loader)
                return spec

        sys.meta_path.insert(0, Finder)
        from tracking_hooks.autoload import install
        install()
        import ultralytics.utils.callbacks
        """
    )


def test_the_bootstrap_of_run_leaves_the_environments_own_sitecustomize_in_place(tmp_path):
    import tracking_hooks

    bootstrap = Path(tracking_hooks.__file__).parent / "bootstrap"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('their own')")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; print([type(finder).__name__ for finder in sys.meta_path][0])"],
        env={"PYTHONPATH": f"{bootstrap}:{tmp_path / 'site'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "their own\n_Finder\n"
    assert done.stderr == ""
