"""The relay side: tells people how a training ended, that it stalls, and who acted upon it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from time import monotonic, time
from typing import Any

from apprise import NotifyType

from tracking_hooks.events import Destination, Environment, Rejected, Run, State, Unavailable
from tracking_hooks.markers import hookimpl
from tracking_hooks_notify import sent
from tracking_hooks_notify.service import Service
from tracking_hooks_notify.trainer import addresses

_LONGEST = 1000  # characters of a text: chats take 2000 or more
_AGAIN = 120  # seconds until an address that failed is tried again, while others work
_LOOKS = {"finished": NotifyType.SUCCESS, "failed": NotifyType.FAILURE, "killed": NotifyType.FAILURE}


class Notify:
    """Sends each message once to each address; twice if the machine dies between sending and noting it down."""

    def __init__(self) -> None:
        self._services = [Service(number, url) for number, url in enumerate(addresses(), 1)]
        self._progress, self._told = monotonic(), 0.0

    @hookimpl
    def open(self, environment: Environment, state: State) -> None:
        """Know what `on_run_start` tells, should that be set aside."""
        for key, value in {"host": environment.host, "best": "", "status": None}.items():
            state.setdefault(key, value)

    @hookimpl
    def on_event(
        self, hook: str, args: dict[str, Any], run: Run, destination: Destination, state: State, seq: int, time: float
    ) -> None:
        """Tell what is to be told, and note that the training lives."""
        if hook not in {"on_system_metrics", "on_console"}:  # these come from a training that hangs, too
            self._progress, state["seq"] = monotonic(), max(seq, state.get("seq", 0))
        if hook == "on_run_start" and seq == state["seq"]:  # else it was set aside, and comes behind the others
            state.update(host=args["environment"]["host"], best="", status=None)
        elif hook == "on_train_start":
            state.setdefault("epoch", 0)  # a tuning and a group have no epochs
        elif hook == "on_epoch_end":
            state["epoch"] = args["epoch"]
        elif hook == "on_final_validation":
            values = [f"{name.removeprefix('metrics/')} {float(value):.4g}" for name, value in args["metrics"].items()]
            state["best"] = f"best checkpoint: {', '.join(values)}"
        elif hook == "on_action":
            action, outcome = args["action"], args["outcome"]
            text = action["reason"] if outcome == "done" else f"{action['reason']}\nnot carried out: {outcome}"
            self._tell(action["type"], text, run, destination, state, seq, time, f" by {args['plugin']}")
        elif hook == "on_run_end":
            error, state["status"] = args["error"], args["status"] if seq == state["seq"] else state["status"]
            text = f"{error['type']}: {error['message']}" if error else state["best"]
            self._tell(args["status"], text, run, destination, state, seq, time)

    @hookimpl
    def poll(self, run: Run, destination: Destination, state: State) -> None:
        """Tell that there was no progress for long. It may be asked before `open`."""
        silent, is_training = monotonic() - self._progress, "epoch" in state and not state["status"]
        if is_training and silent > destination["stalled"] and monotonic() - self._told > _AGAIN:
            self._told = monotonic()
            with suppress(Unavailable, Rejected):  # who lacks it gets it the next time
                text = f"no progress for {silent / 60:.3g} minutes"
                self._tell("stalled", text, run, destination, state, state["seq"], time())

    def _tell(
        self, event: str, text: str, run: Run, to: Destination, state: State, seq: int, time: float, who: str = ""
    ) -> None:
        if event not in to["events"] or (run.parent and not run.group and "trials" not in to["events"]):
            return
        when = datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M %Z")
        where = f"{when}, epoch {state['epoch']}" if "epoch" in state else when
        body = f"{text[:_LONGEST]}\n{where}, {state['host']}:{run.save_dir}\nrun {run.uid}, event {seq}".lstrip()
        title, look = " ".join(f"{run.name}: {event}{who}".split()), _LOOKS.get(event, NotifyType.WARNING)
        message, failures = f"{run.uid}/{seq}/{event}", []
        for service in [each for each in self._services if f"{message}/{each.key}" not in sent.marks()]:
            if failure := service.send(title, body, look):
                failures.append(failure)
            else:
                sent.add(f"{message}/{service.key}")
        waits = [failure for failure in failures if isinstance(failure, Unavailable)]
        if waits and len(waits) < len(self._services):  # nothing waits here for the one that is down
            raise Rejected(str(waits[0]), retry_after=_AGAIN)
        for failure in waits or failures:
            raise failure
