"""``tracking-hooks open``: a run in the pages of its tracker, served if nobody serves them."""

import os
import subprocess
import sys
import urllib.request
from textwrap import dedent

import pytest
from msgspec.structs import replace

from tests.support.processes import wait_for
from tests.support.runs import write_run
from tracking_hooks.cli import browsing, servers
from tracking_hooks.pages import Page
from tracking_hooks.run import index
from tracking_hooks.run.layout import Cursor, Health, write_json
from tracking_hooks.testing import recorded_addendum, sample_run

SERVER = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1", "--directory"]
SIDE = """
import sys
from tracking_hooks import hookimpl
from tracking_hooks.pages import Page

@hookimpl
def page(run, state, destination, overview):
    if "id" not in state:
        return None
    place = "" if overview else f"#/runs/{state['id']}"
    if "address" in destination:
        return Page(url=f"{destination['address']}/{place}")
    store = destination["store"]
    command = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1", "--directory", store]
    return Page(url=place, command=command, store="file://" + store)
"""


@pytest.fixture(autouse=True)
def _a_terminal_without_a_browser(monkeypatch):
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "JPY_PARENT_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(browsing.sys, "platform", "linux")


@pytest.fixture(autouse=True)
def _ended():
    yield
    for server in servers.servers():
        servers.stop(server)


@pytest.fixture
def browser(monkeypatch):
    """What is opened in a browser."""
    opened = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(browsing.webbrowser, "open", opened.append)
    return opened


@pytest.fixture
def shelf(install, tmp_path):
    """A tracker whose pages ``http.server`` serves."""
    install("[tracking_hooks.trainer]\nshelf = shelf_side\n")
    (tmp_path / "site/shelf_side.py").write_text(SIDE)


@pytest.fixture
def delivered(record_run, shelf, tmp_path):
    """A run that trackers have."""

    def deliver(*plugins, name="train", state=None, **destination):
        store = tmp_path / "store"
        store.mkdir(exist_ok=True)
        one = record_run(*(plugins or ["shelf"]), name=name, destination=destination or {"store": str(store)})
        for plugin in plugins or ["shelf"]:
            relay = one.folder.relay(plugin)
            relay.path.mkdir(parents=True)
            write_json(relay.cursor, Cursor(state={"id": 7} if state is None else state))
        index.enter(one.folder)
        return one

    return deliver


def page_of(folder):
    return Page(url="", command=[*SERVER, str(folder)], store=folder.as_uri())


def read(address):
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.status


# -- which page -----------------------------------------------------------------------------------------------


def test_a_run_is_opened_in_the_browser_from_a_server_for_its_store(cli, delivered, browser):
    one = delivered()
    result = cli("open", one.save_dir)
    assert result.exit_code == 0, result.output
    (server,) = servers.servers()
    assert browser == [f"{server.address}#/runs/7"]
    assert browser[0] in result.output
    assert read(server.address) == 200


def test_a_page_that_is_served_already_needs_no_server(cli, delivered, browser):
    delivered(address="https://tracker.example")
    assert cli("open").exit_code == 0
    assert cli("open", "--all").exit_code == 0
    assert browser == ["https://tracker.example/#/runs/7", "https://tracker.example/"]
    assert not servers.servers()


def test_a_tracker_without_the_hook_is_opened_at_the_url_that_it_has_told(cli, delivered, browser):
    delivered("notes", state={"url": "https://notes.example/7"})
    assert cli("open").exit_code == 0
    assert browser == ["https://notes.example/7"]


def test_the_latest_run_is_meant_or_the_one_that_is_named(cli, delivered, browser):
    delivered(name="a", address="https://a.example")
    one = delivered(name="b", address="https://b.example")
    cli("open")
    cli("open", one.folder.uid.replace("-b", "-a"))
    cli("open", one.folder.path)
    assert [url.partition("/#")[0] for url in browser] == [f"https://{name}.example" for name in "bab"]


def test_of_a_tracker_that_is_named_the_latest_run_there_is_opened(cli, delivered, browser):
    delivered(name="a", address="https://a.example")
    delivered("notes", name="b", state={"url": "https://notes.example/7"})
    assert cli("open", "--tracker", "shelf").exit_code == 0
    assert cli("open").exit_code == 0
    assert browser == ["https://a.example/#/runs/7", "https://notes.example/7"]
    assert "-b does not go to 'wall', but to: notes." in cli("open", "--tracker", "wall").output


def test_a_tuning_is_opened_rather_than_the_last_of_its_trials(cli, delivered, browser):
    tuning = delivered(name="a", address="https://tuning.example")
    trial = replace(sample_run(tuning.save_dir), uid="20991009-085320-trial", parent=tuning.folder.uid)
    folder = write_run(trial, [], {"shelf": {"address": "https://trial.example"}})
    folder.relay("shelf").path.mkdir(parents=True)
    write_json(folder.relay("shelf").cursor, Cursor(state={"id": 8}))
    index.enter(folder)
    cli("open")
    cli("open", trial.uid)
    assert browser == ["https://tuning.example/#/runs/7", "https://trial.example/#/runs/8"]


def test_the_first_tracker_that_has_a_page_is_opened_or_the_one_that_is_named(cli, delivered, browser):
    one = delivered("notes", "shelf", "wall", address="https://shelf.example")
    write_json(one.folder.relay("notes").cursor, Cursor())
    write_json(one.folder.relay("wall").cursor, Cursor(state={"url": "https://wall.example"}))
    cli("open")
    cli("open", "--tracker", "wall")
    assert browser == ["https://shelf.example/#/runs/7", "https://wall.example"]


def test_without_a_run_the_latest_one_of_the_tracker_is_opened(cli, delivered, browser, install):
    delivered("notes", "shelf", name="first", address="https://first.example")
    delivered("notes", name="second", address="https://second.example")
    assert cli("open", "--tracker", "shelf").exit_code == 0
    assert browser == ["https://first.example/#/runs/7"]


def test_an_addendum_is_no_run_to_look_at(cli, delivered, browser, tmp_path):
    one = delivered(address="https://shelf.example")
    late = "20991009-085320-late"
    run = replace(sample_run(one.save_dir), uid=late, addendum=late)
    index.enter(write_run(run, recorded_addendum(one.save_dir), {"shelf": {}}))
    assert cli("open").exit_code == 0
    assert browser == ["https://shelf.example/#/runs/7"]


def test_what_cannot_be_opened_is_said_with_what_to_do(cli, delivered):
    assert "no run of this user is on this machine" in cli("open").output
    one = delivered(state={})
    result = cli("open")
    assert result.exit_code == 1
    assert "shelf cannot show the run, or does not have it." in result.output
    assert f"tracking-hooks status {one.folder.uid}\n" in result.output
    write_json(one.folder.relay("shelf").health, Health(state="down", pid=1, error="no route to shelf.example"))
    assert "\nshelf waits: no route to shelf.example\n" in cli("open").output
    result = cli("open", "--tracker", "wandb")
    assert result.exit_code == 1
    assert "does not go to 'wandb', but to: shelf" in result.output
    result = cli("open", "20251009-000000-none")
    assert result.exit_code == 1
    assert "there is no run '20251009-000000-none'" in result.output


def test_a_plugin_that_fails_is_named(cli, delivered):
    delivered(other="1")
    result = cli("open")
    assert result.exit_code == 1
    assert "plugin 'shelf' failed in page: KeyError: 'store'" in result.output


def test_a_tracker_whose_store_is_gone_says_so_and_the_next_one_is_opened(cli, delivered, browser, tmp_path):
    side = tmp_path / "site/shelf_side.py"
    side.write_text(
        side.read_text()
        .replace("import sys", "import sys\nfrom tracking_hooks import Unavailable")
        .replace("    store =", "    raise Unavailable('the shelf is gone')\n    store =")
    )
    delivered("shelf", "album", state={"id": 7, "url": "http://album/7"})
    result = cli("open")
    assert "shelf: the shelf is gone" in result.output
    assert browser == ["http://album/7"]
    assert cli("open", "--tracker", "shelf").exit_code == 1


# -- servers --------------------------------------------------------------------------------------------------


def test_one_server_for_a_store_is_enough_whatever_else_listens(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    one = servers.serving(page_of(first))
    assert servers.serving(page_of(first)) == one
    other = servers.serving(page_of(second))
    assert other.port != one.port
    assert {server.store for server in servers.servers()} == {first.as_uri(), second.as_uri()}


def test_two_calls_at_once_start_one_server(tmp_path):
    code = f"""
    from tracking_hooks.cli import servers
    from tracking_hooks.pages import Page
    print(servers.serving(Page(url="", command={[*SERVER, str(tmp_path)]!r}, store={tmp_path.as_uri()!r})).pid)
    """
    command = [sys.executable, "-c", dedent(code)]
    calls = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (call.communicate(timeout=60)[0] for call in calls)
    assert first == second != ""


def test_a_server_that_is_started_again_has_the_port_that_it_had(tmp_path):
    one = servers.serving(page_of(tmp_path))
    servers.stop(one)
    assert not servers.servers()
    assert servers.serving(page_of(tmp_path)).port == one.port


def test_a_port_that_somebody_else_has_is_left_to_them(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "_PORTS", [servers.serving(page_of(tmp_path)).port])
    (tmp_path / "other").mkdir()
    other = servers.serving(page_of(tmp_path / "other"))
    assert other.port not in servers._PORTS
    assert read(other.address) == 200


def test_stop_ends_what_the_command_has_started_and_nothing_else(cli, delivered, browser):
    delivered()
    cli("open")
    (server,) = servers.servers()
    result = cli("open", "--stop")
    assert f"stopped: {server.address} of {server.store}" in result.output
    assert not servers.servers()
    assert "No server runs" in cli("open", "--stop").output


def test_a_process_that_has_the_id_of_a_server_is_not_taken_for_it(tmp_path):
    server = servers.serving(page_of(tmp_path))
    servers.stop(server)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        taken = replace(server, pid=other.pid, created=server.created - 1000)
        write_json(servers._file(server.store), taken)
        assert not servers.servers()
        servers.stop(taken)
        assert other.poll() is None
        other.communicate(b"\n")
        assert other.returncode == 0


def test_a_server_that_was_killed_is_started_again(tmp_path):
    server = servers.serving(page_of(tmp_path))
    os.kill(server.pid, 9)
    wait_for(lambda: not servers.servers(), "the end of the server")
    assert servers.serving(page_of(tmp_path)).pid != server.pid


def test_a_server_that_does_not_come_up_is_told_in_its_own_words(tmp_path):
    page = Page(url="", command=[sys.executable, "-c", "raise SystemExit('no such store')"], store=tmp_path.as_uri())
    with pytest.raises(servers.ServerError, match="no such store"):
        servers.serving(page)
    assert not servers.servers()


def test_a_password_is_in_no_command_line_and_in_no_file(tmp_path):
    page = Page(url="", command=[*SERVER, str(tmp_path)], environment={"PASSWORD": "sesame"}, store="file:///x")
    server = servers.serving(page)
    process = servers.psutil.Process(server.pid)
    assert process.environ()["PASSWORD"] == "sesame"
    assert "sesame" not in " ".join(process.cmdline())
    assert "sesame" not in servers._file("file:///x").read_text()


# -- how it is shown ------------------------------------------------------------------------------------------


def shown(url="http://127.0.0.1:24000/#/runs/7", *, is_local=True):
    return list(browsing.show(url, is_local=is_local))


def test_without_a_display_the_link_is_printed_and_how_to_reach_it(monkeypatch):
    monkeypatch.setattr(browsing.portable, "user_name", lambda: "ada")
    monkeypatch.setattr(browsing.socket, "gethostname", lambda: "gpu7")
    link, _, tunnel = shown()
    assert link == "http://127.0.0.1:24000/#/runs/7"
    assert tunnel.split() == ["ssh", "-L", "24000:127.0.0.1:24000", "ada@gpu7"]


@pytest.mark.parametrize("url", ["--new-window", "javascript:alert(1)", "calc.exe"])
def test_what_is_no_address_of_a_page_is_shown_and_not_opened(browser, url):
    assert shown(url, is_local=False) == [url]
    assert not browser


def test_over_ssh_the_tunnel_goes_to_where_the_user_came_in(monkeypatch, browser):
    monkeypatch.setattr(browsing.portable, "user_name", lambda: "ada")
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.2 50000 10.0.0.7 2222")
    assert shown()[-1].split() == ["ssh", "-L", "24000:127.0.0.1:24000", "-p", "2222", "ada@10.0.0.7"]
    assert not browser


def test_an_editor_that_is_connected_over_ssh_opens_the_page(monkeypatch, browser):
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.2 50000 10.0.0.7 22")
    monkeypatch.setenv("BROWSER", "/opt/editor/bin/browser.sh")
    assert shown() == browser == ["http://127.0.0.1:24000/#/runs/7"]


@pytest.mark.parametrize("variable", ["", "JPY_PARENT_PID", "COLAB_RELEASE_TAG"])
def test_a_page_that_everybody_can_reach_needs_no_detour(monkeypatch, variable):
    if variable:
        monkeypatch.setenv(variable, "1")
    assert shown("https://tracker.example/7", is_local=False) == ["https://tracker.example/7"]


def test_in_a_notebook_the_link_is_printed_and_that_of_a_hub(monkeypatch, browser):
    monkeypatch.setenv("JPY_PARENT_PID", "7")
    assert shown() == ["http://127.0.0.1:24000/#/runs/7"]
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    assert shown()[-1].strip() == "/user/ada/proxy/24000/#/runs/7"
    assert not browser


def test_in_colab_a_cell_opens_it(monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    assert shown("http://127.0.0.1:24000/?pinned=1#timeseries")[-1].strip() == (
        'output.serve_kernel_port_as_window(24000, path="/?pinned=1#timeseries")'
    )
