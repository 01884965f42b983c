"""What somebody sees who looks at Trackio: for the tests, and for ``tracking-hooks plugins --check trackio``."""

from pathlib import Path
from typing import Any

from trackio.media import get_project_media_path
from trackio.sqlite_storage import SQLiteStorage
from trackio.utils import serialize_values

from tracking_hooks_trackio.tracker import Values, use


def destination(folder: Path) -> Values:
    """Return an empty store: by default it is the user's own."""
    return {"folder": str(folder), "project": "kisten-süd", "name": "train", "group": None}


def observe(destination: Values) -> list[Any]:
    """Return all of each run, as JSON values."""
    use(Path(destination["folder"]))
    runs = SQLiteStorage.get_run_records(destination["project"])
    return [serialize_values(_run(destination["project"], run["name"], run["id"])) for run in runs]


def _run(project: str, name: str, uid: str) -> Values:
    artifacts = {file["name"] for file in SQLiteStorage.get_run_artifacts(project, name, uid)["output"]}
    latest = [SQLiteStorage.get_artifact_manifest(project, artifact, None) for artifact in sorted(artifacts)]
    media = get_project_media_path(project, name)
    return {
        "name": name,
        "config": SQLiteStorage.get_run_config(project, run_id=uid),
        "rows": sorted(SQLiteStorage.get_logs(project, run_id=uid), key=str),
        "system": sorted(SQLiteStorage.get_system_logs(project, run_id=uid), key=str),
        "alerts": sorted(SQLiteStorage.get_alerts(project, run_id=uid), key=str),
        "media": sorted(str(path.relative_to(media)) for path in media.rglob("*.*")),
        "files": [{key: file[key] for key in ("name", "version", "type", "manifest", "aliases")} for file in latest],
    }
