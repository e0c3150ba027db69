"""Settings of the application (not of a workspace): look, window geometry, where samples go. One JSON file.

The file lies in the user's configuration folder; the environment variable OPSIN_CONFIG names another one.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..engine.errors import OpsinError
from ..engine.files import from_json, write_json
from ..engine.recent import config_folder

__all__ = ["AppSettings", "config_folder", "documents_folder"]


def documents_folder() -> Path:
    """Return where workspaces go that have no better place."""
    given = os.environ.get("OPSIN_CONFIG")
    if given:
        return Path(given) / "documents"
    from platformdirs import user_documents_path

    return user_documents_path() / "Opsin"


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name
        return "user"


class AppSettings(BaseModel):
    """What is remembered from one start to the next. Geometry is Qt's own bytes in hexadecimal, docks are widths in px."""

    model_config = ConfigDict(validate_assignment=True, extra="ignore")

    theme: Literal["system", "light", "dark"] = "system"
    text_size: int = Field(default=100, ge=75, le=200)
    geometry: str = ""
    docks: tuple[int, int] | None = None
    last_folder: str = ""
    pen_pressure: bool = True
    hatch: bool = False
    reviewer: str = Field(default="", max_length=100)
    key_preset: str = "opsin"
    keys: dict[str, list[str]] = Field(default_factory=dict)

    @property
    def reviewer_name(self) -> str:
        """Who reviews are put down to: the name given, else that of the login."""
        return self.reviewer or _login()

    overview: bool = True

    @classmethod
    def load(cls) -> AppSettings:
        """Read the settings; a missing or damaged file gives the defaults."""
        try:
            return cls(**from_json((config_folder() / "settings.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, ValidationError):
            return cls()

    def save(self) -> None:
        """Write the settings; a disk that cannot be written loses a window position, nothing else."""
        try:
            write_json(config_folder() / "settings.json", self.model_dump())
        except (OpsinError, OSError):
            pass
