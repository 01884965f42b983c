"""Which plugins are installed is looked for once; what is installed or removed meanwhile is noticed."""

import os
import shutil

from tracking_hooks import entrypoints, plugins


def test_what_is_installed_and_removed_while_the_process_runs_is_noticed(tmp_path, importable):
    site = tmp_path / "site"
    site.mkdir()
    os.utime(site, (0, 0))
    importable(site)
    assert "later" not in plugins.installed()
    package = site / "later_trackers-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: later-trackers\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[tracking_hooks]\nlater = later_trackers:Plugin\n")
    assert "later" in plugins.installed()
    shutil.rmtree(package)
    os.utime(site, (1, 1))
    assert "later" not in plugins.installed()


def test_the_packages_of_an_environment_are_looked_through_once(monkeypatch):
    looked = []
    monkeypatch.setattr(entrypoints, "entry_points", lambda group: looked.append(group) or ())
    entrypoints._found.cache_clear()
    for _ in range(300):
        assert entrypoints.of("a group of this test") == ()
    assert looked == ["a group of this test"]
