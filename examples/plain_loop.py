"""A training loop of one's own, tracked: TRACKING_HOOKS=mlflow python plain_loop.py runs/plain 20 [--resume]."""

import logging
import sys
from pathlib import Path

import torch

from tracking_hooks import Run
from tracking_hooks.events import Checkpoint, Plan
from tracking_hooks.recording.folders import new_uid
from tracking_hooks.recording.tracking import Tracking

save_dir, epochs, resume = Path(sys.argv[1]).absolute(), int(sys.argv[2]), "--resume" in sys.argv
weights, draft = save_dir / "model.pt", save_dir / "model.part"
params = {"lr": 0.01, "batch": 64, "epochs": epochs}
save_dir.mkdir(parents=True, exist_ok=True)
logging.basicConfig(level=logging.INFO, format="%(message)s")

model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
first = 1
if resume:
    saved = torch.load(weights)
    model.load_state_dict(saved["model"])
    first = saved["epoch"] + 1

run = Run(uid=new_uid(), name=save_dir.name, project="plain", task="regression", save_dir=save_dir)
tracking = Tracking.of(run, logging.getLogger("plain_loop"), packages=["torch"], resumed_from=[save_dir] * resume)
if tracking is None:
    sys.exit("Name a tracker, as in TRACKING_HOOKS=mlflow")
recorder = tracking.start(params, Plan(host="PyTorch", epochs=epochs, files=["*.csv"]))
recorder.check()  # the last moment to refuse: from now on, nothing of tracking-hooks ends the training
recorder.begin(params=params, environment=tracking.environment)
error = None
try:
    for epoch in range(first, epochs + 1):
        recorder.record("on_epoch_start", epoch=epoch, attempt=1)
        for _ in range(100):
            x = torch.randn(params["batch"], 8)
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        # Before the weights are saved: if the process dies in between, the epoch is trained again, and recorded once.
        metrics = {"train/loss": loss.item()}
        recorder.record("on_epoch_end", epoch=epoch, step=epoch * 100, metrics=metrics, per_class=None)
        torch.save({"model": model.state_dict(), "epoch": epoch}, draft)
        draft.replace(weights)
        recorder.record("on_checkpoint_saved", epoch=epoch, checkpoint=Checkpoint(path=weights, kind="last"))
        recorder.look_after_relays()
except BaseException as stopped:
    error = stopped
    raise
finally:
    recorder.record_final_files()
    recorder.end(error=error)
