"""The list of workspaces that were open lately, newest first; one JSON file in the user's configuration folder."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import OpsinError
from .files import from_json, write_json

MOST = 30


@dataclass(frozen=True)
class RecentWorkspace:
    """A workspace folder and the Unix time at which it was opened last."""

    folder: str
    opened: float


def config_folder() -> Path:
    """Return the user's configuration folder for Opsin; the environment variable OPSIN_CONFIG names another one."""
    given = os.environ.get("OPSIN_CONFIG")
    if given:
        return Path(given)
    from platformdirs import user_config_path

    return user_config_path("opsin", appauthor=False)


def recent_workspaces() -> list[RecentWorkspace]:
    """Return the list, newest first; a missing or damaged file is an empty list."""
    try:
        rows = from_json((config_folder() / "recent.json").read_text(encoding="utf-8"))
        return [RecentWorkspace(str(row["folder"]), float(row["opened"])) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def remember(folder: Path) -> None:
    """Put a workspace at the head of the list."""
    name = str(Path(folder).absolute())
    others = [entry for entry in recent_workspaces() if entry.folder != name]
    _write([RecentWorkspace(name, time.time()), *others][:MOST])


def forget(folder: Path) -> None:
    """Take a workspace out of the list; the folder itself stays."""
    name = str(Path(folder).absolute())
    _write([entry for entry in recent_workspaces() if entry.folder != name])


def _write(entries: list[RecentWorkspace]) -> None:
    try:
        write_json(config_folder() / "recent.json", [asdict(entry) for entry in entries])
    except (OpsinError, OSError):
        pass  # a list that cannot be kept must not keep anybody from working
