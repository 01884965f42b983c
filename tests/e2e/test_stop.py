"""A training that is asked to stop from outside, in a shell or in the tracker's UI, ends properly."""

import pytest

from tests.support import browser
from tests.support.processes import PATIENCE
from tracking_hooks.events import Stop

pytestmark = pytest.mark.e2e


def assert_stopped(home, plugin, reason, store=None):
    calls = home.calls()
    (done,) = [call.args for call in calls if call.hook == "on_action"]
    assert done == {"action": Stop(reason=reason), "plugin": plugin, "outcome": "done"}
    assert calls[-1].args["status"] == "finished"
    settled = [call.args["epoch"] for call in calls if call.hook == "on_epoch_end"]
    assert len(settled) < 200
    assert settled == list(home.results()), "the epoch in which it was stopped is settled"
    run = home.reader(store).only_run()
    assert run.info.status == "FINISHED"
    assert [value for key, value in run.data.tags.items() if key.startswith("tracking_hooks.action.")] == [
        f"Stop by {plugin}: {reason} (done)"
    ]


def test_a_training_is_stopped_from_a_shell(home):
    process = home.start(home.yolo(epochs=200), "mlflow")
    home.wait_for_call("on_epoch_end", epoch=1)
    output = home.run(["tracking-hooks", "stop", str(home.work / "runs/train"), "--reason", "enough"])
    assert "asked to stop" in output
    assert process.wait(PATIENCE) == 0
    assert_stopped(home, "tracking-hooks stop", "enough")
    assert "no training is running" in home.run(["tracking-hooks", "stop", str(home.work / "runs/train")], code=1)


def test_a_training_is_stopped_by_a_tag_in_mlflow(home, await_):
    process = home.start(home.yolo(epochs=200), "mlflow")
    home.wait_for_call("on_epoch_end", epoch=1)
    reader = home.reader()
    (run,) = await_(reader.runs, "the run in MLflow")
    reader.client.set_tag(run.info.run_id, "tracking_hooks.stop", "too slow")
    assert process.wait(PATIENCE) == 0
    assert_stopped(home, "mlflow", "too slow")


@browser.needed
def test_a_training_is_stopped_by_somebody_who_adds_the_tag_in_mlflows_page(home, start_server, port, await_):
    start_server()
    server = home.env["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
    process = home.start(home.yolo(epochs=200), "mlflow")
    home.wait_for_call("on_epoch_end", epoch=1)
    (run,) = await_(home.reader(server).runs, "the run in MLflow")
    with browser.new_page() as page:
        page.goto(f"{server}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
        page.get_by_role("button", name="Edit tags").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("combobox").fill("tracking_hooks.stop")
        dialog.get_by_role("combobox").press("Enter")
        dialog.get_by_label("Value").fill("the labels were wrong")
        dialog.get_by_label("Add tag").click()
        dialog.get_by_role("button", name="Save tags").click()
        dialog.wait_for(state="hidden")
    assert process.wait(PATIENCE) == 0
    assert_stopped(home, "mlflow", "the labels were wrong", server)
