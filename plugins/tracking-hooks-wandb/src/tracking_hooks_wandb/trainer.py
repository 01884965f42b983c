"""The trainer side. Imports no W&B."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Mapping
from configparser import ConfigParser, Error
from pathlib import Path
from typing import Any

from tracking_hooks.events import Capture, Destination, Run, State
from tracking_hooks.markers import hookimpl
from tracking_hooks.pages import Page
from tracking_hooks_wandb import names

_MODES = {"": "online", "online": "online", "run": "online", "shared": "online"}
_MODES |= {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}

_DEFAULT_SERVICE = "https://api.wandb.ai"

BESIDE = "TRACKING_HOOKS_WANDB_BESIDE"
"""``off``: a training in a run that the script has opened is left to that run."""

settings = {BESIDE: "whether a training in a run that the script has opened has a run of its own beside it"}
"""The variables of this plugin's own."""


@hookimpl
def capture(run: Run, parent: Destination | None) -> Capture:
    """Return where W&B would record this run: by its variables, its settings files, or the user's open run.

    A trial is recorded beside its tuning, in its group, and so is a run of a group.
    """
    theirs = _open_run()
    destination = _below(parent, run, theirs) if parent else _destination(run, theirs)
    if destination["mode"] == "offline":
        parent_folder = Path(parent["folder"]).parent if parent and "folder" in parent else _folder(run)
        destination["folder"] = str(parent_folder / _folder_name(run, destination["id"]))
    summary, place = _where_to_look(destination), _place(destination)
    if destination["mode"] == "disabled":
        del destination["id"]  # there is no such run
    is_theirs = "beside" in destination
    return Capture(
        destination=destination,
        disables=None if is_theirs else "wb",
        guards="wb" if is_theirs else None,
        summary=summary,
        place=place,
        is_held=theirs is not None and not run.is_trial,  # behind a trial comes another
    )


@hookimpl
def probe(destination: Destination, timeout: float) -> str:
    """Return what answers, and as whom."""
    if destination["mode"] == "disabled":
        return _where_to_look(destination)
    if destination["mode"] == "offline":
        return f"offline: runs are kept in {Path(destination['folder']).parent}"
    from tracking_hooks_wandb.probe import probe

    return probe(destination["base_url"] or _DEFAULT_SERVICE, timeout)


@hookimpl
def page(state: State, overview: bool) -> Page | None:
    """Return the page of the run, or that of its project."""
    url: str = state.get("url", "")
    return Page(url=url.rpartition("/runs/")[0] if overview and "/runs/" in url else url) if url else None


def _below(parent: Destination, run: Run, theirs: Any) -> Destination:
    """Return where a run below another one goes, which the script may have opened a run for.

    :param theirs: the run that the script has open; it may be that of the parent
    """
    destination = _beside(parent, run)
    is_parents = theirs is not None and parent.get("joined") and theirs.id == parent.get("id")
    if theirs is None or is_parents or (run.is_trial and _is_shared(theirs)):
        return destination  # a trial joins no run
    return destination | _with_theirs(theirs, destination["mode"])


def _beside(parent: Destination, run: Run) -> Destination:
    same = ("base_url", "entity", "project", "notes", "tags")
    mode = parent["mode"]
    if "beside" in parent and mode == "disabled":
        mode = _mode(_settings_files())  # the script's run stands for the parent, not for what is below it
    return {
        **{name: parent[name] for name in same},
        "mode": "online" if mode == "shared" else mode,
        "id": names.run_id(run.uid),
        "name": run.name,
        "group": parent["group"] or _group(run),
        "job_type": parent["job_type"] or "train",
        "sweep": "",
    }


def _group(run: Run) -> str:
    return run.group or run.parent or (run.name if run.task == "group" else "")


def _destination(run: Run, theirs: Any) -> Destination:
    files = _settings_files()
    mode = _mode(files)
    destination: Destination = {
        "mode": mode,
        "base_url": _without_user(_checked(os.environ.get("WANDB_BASE_URL") or files.get("base_url", ""))),
        "entity": os.environ.get("WANDB_ENTITY") or files.get("entity", ""),
        "project": os.environ.get("WANDB_PROJECT") or files.get("project") or names.project(run.project),
        "id": names.run_id(run.uid),
        "name": os.environ.get("WANDB_NAME", ""),
        "group": os.environ.get("WANDB_RUN_GROUP", ""),
        "job_type": os.environ.get("WANDB_JOB_TYPE", ""),
        "tags": ",".join(_tags(run)),
        "notes": os.environ.get("WANDB_NOTES", ""),
        "sweep": os.environ.get("WANDB_SWEEP_ID", ""),
    }
    if theirs is not None:
        destination |= _with_theirs(theirs, mode)
    elif joined := os.environ.get("WANDB_RUN_ID"):
        destination |= {"id": joined, "joined": True}
    if not destination.get("joined"):  # otherwise the run has a name already, or W&B gives it one
        # Also of a trial that is replayed to a place without its tuning.
        ours = {"name": run.name, "group": _group(run), "job_type": "train"}
        destination |= {name: destination[name] or value for name, value in ours.items()}
    return destination


def _settings_files() -> dict[str, str]:
    """Read the files that ``wandb init``, ``wandb login --host`` and ``wandb offline`` write."""
    parser = ConfigParser(interpolation=None)
    try:
        home = Path(os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config/wandb")
        parser.read([home / "settings", _wandb_folder() / "settings"], encoding="utf-8")
        return dict(parser["default"]) if parser.has_section("default") else {}
    except (Error, OSError, UnicodeError, RuntimeError):
        return {}  # W&B itself ignores a file that it cannot read; a user without a home folder has none


def _mode(files: Mapping[str, str]) -> str:
    if os.environ.get("WANDB_DISABLED", "").lower() in {"true", "1"}:
        return "disabled"
    given = os.environ.get("WANDB_MODE") or files.get("mode", "")
    if given not in _MODES:
        raise ValueError(f"WANDB_MODE={given!r} must be online, offline or disabled")
    return _MODES[given]


def _tags(run: Run) -> list[str]:
    given = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",")]
    ours = [names.tag(name, value) for name, value in run.tags.items()]
    return list(dict.fromkeys(tag[:64] for tag in [*given, *ours] if tag))


def _open_run() -> Any:
    """Return the run that the user's code has opened in this process, if it has imported W&B."""
    run = getattr(sys.modules.get("wandb"), "run", None)
    return None if getattr(run, "disabled", True) else run


def _with_theirs(theirs: Any, mode: str) -> dict[str, Any]:
    """Return what the user's open run means for ours.

    W&B allows two writers to one run only if both use its shared mode; otherwise each overwrites lines of the other.
    So a run that was opened in another mode is left to Ultralytics' own integration, and ours is created beside it.
    """
    place = {
        "entity": theirs.entity or "",
        "project": theirs.project or "",
        "base_url": _without_user(theirs.settings.base_url),
        "sweep": "",
    }
    if _is_shared(theirs) and mode == "online":
        return {**place, "mode": "shared", "id": theirs.id, "joined": True}
    mode = mode if _is_wanted_beside() else "disabled"
    beside = {"beside": "/".join(part for part in (place["entity"], place["project"], theirs.id) if part)}
    if getattr(theirs, "group", None):
        beside["group"] = theirs.group
    is_offline = mode != "disabled" and theirs.settings.mode in {"offline", "dryrun"}
    return {**place, **beside, "mode": "offline" if is_offline else mode}


def _is_shared(theirs: Any) -> bool:
    return bool(theirs.settings.mode == "shared")


def _is_wanted_beside() -> bool:
    given = os.environ.get(BESIDE, "").strip().lower() or "on"
    if given not in {"on", "off"}:
        raise ValueError(f"{BESIDE}={given!r} must be on or off")
    return given == "on"


def _wandb_folder() -> Path:
    """Return the folder for W&B's files: below ``WANDB_DIR``, else below the working directory."""
    try:
        parent = Path(os.environ.get("WANDB_DIR") or ".").expanduser().absolute()
    except FileNotFoundError:  # the working directory was deleted
        parent = Path(os.environ.get("PWD", os.sep))
    return parent / (".wandb" if (parent / ".wandb").is_dir() else "wandb")


def _folder(run: Run) -> Path:
    """Return the folder for offline runs: W&B's own, if it is writable."""
    folder = _wandb_folder()
    if not os.access(next(path for path in [folder, *folder.parents] if path.exists()), os.W_OK):
        return run.save_dir.absolute() / "wandb"
    return folder


def _folder_name(run: Run, run_id: str) -> str:
    """Return the name of an offline run's folder in W&B's form, so that ``wandb sync`` finds it."""
    started = re.match(r"(\d{8})-(\d{6})-", run.uid)
    stamp = "_".join(started.groups()) if started else time.strftime("%Y%m%d_%H%M%S", time.gmtime())
    return f"offline-run-{stamp}-{names.run_id(run_id)}"


def _where_to_look(destination: Mapping[str, Any]) -> str:
    if destination["mode"] == "disabled":
        if "beside" in destination:
            return f"left to your own run {destination['beside']}"
        return "switched off by WANDB_MODE"
    if destination["mode"] == "offline":
        where = f"wandb sync {shlex.quote(destination['folder'])}"
    else:
        where = "/".join(part for part in (destination["entity"], destination["project"], destination["id"]) if part)
        where = f"{destination['base_url'] or 'W&B'}, {where}"
    return f"{where}, beside your own run {destination['beside']}" if "beside" in destination else where


def _place(destination: Mapping[str, Any]) -> str:
    if destination["mode"] == "disabled":
        return ""
    if destination["mode"] == "offline":
        return Path(destination["folder"]).parent.as_uri()
    return destination["base_url"] or _DEFAULT_SERVICE


def _checked(url: str) -> str:
    url = url.strip()
    if url and not re.match("https?://", url):
        bare = _without_user(f"https://{url}")
        raise ValueError(f"W&B's address has no scheme. As in: WANDB_BASE_URL={bare}")
    return url


def _without_user(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url).rstrip("/")
