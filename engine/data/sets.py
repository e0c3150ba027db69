"""Which files and folders make one slide together, so that adding a folder gives each slide once.

A MIRAX ``.mrxs`` has a folder of its name beside it, a ``.vms`` or ``.vmu`` names the pictures beside it, a DICOM slide is
the files of one series in a folder, an OME-Zarr is a folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from .dicom import dicom_files, series_of
from .slides import is_slide
from .zarr_slide import is_zarr

_INDEX_SUFFIXES = (".vms", ".vmu")
_INDEX_BYTES = 1 << 16


def slide_files(paths: Iterable[Path | str]) -> list[Path]:
    """What to open: each slide once.

    Parameters
    ----------
    paths : files, slide folders (OME-Zarr, DICOM) and folders that hold slides.

    Returns
    -------
    Files as they are (`open_slide` says what is wrong with those that are none), slide folders, and what lies directly in
    other folders, in order of name; what belongs to another file of the list is left out.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        files += [path] if not path.is_dir() or is_zarr(path) else _in_folder(path)
    return list(_folded(dict.fromkeys(files)))


def slides_below(folder: Path) -> list[Path]:
    """All slides in a folder and the folders in it, each once; folders whose name begins with a dot are passed over."""
    found = []
    for place, inner, _ in os.walk(folder):
        here = Path(place)
        inner[:] = sorted(name for name in inner if not name.startswith(".") and not is_zarr(here / name))
        found += [path for path in _in_folder(here, dicom_folders=False) if not path.name.startswith(".")]
    return sorted(dict.fromkeys(found))


def holds_slides(folder: Path) -> bool:
    """Whether adding this folder would add anything; it is a slide itself or slides lie directly in it."""
    return is_zarr(folder) or any(
        is_slide(path) or (path.is_dir() and any(dicom_files(path))) for path in folder.iterdir()
    )


def _in_folder(folder: Path, dicom_folders: bool = True) -> list[Path]:
    files, found = [], []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if is_zarr(path):
                found.append(path)
            elif dicom_folders and path.suffix.lower() != ".zarr" and any(dicom_files(path)):
                found += _in_folder(path, dicom_folders=False)
        elif is_slide(path):
            files.append(path)
    groups = series_of(path for path in files if path.suffix.lower() == ".dcm")
    if len(groups) == 1 and len(files) == sum(map(len, groups.values())) > 1 and not found:
        return [folder]  # nothing else is here: the folder is the slide, and its name says more than a number
    return sorted([*_folded(files), *found])


def is_slide_folder(path: Path) -> bool:
    """Whether a folder is one slide by itself: an OME-Zarr, or the files of one DICOM slide and nothing else."""
    return path.is_dir() and (is_zarr(path) or (any(dicom_files(path)) and _in_folder(path) == [path]))


def _folded(files: Iterable[Path]) -> Iterator[Path]:
    """Leave out what is part of another file: pictures of a .vms, and all but one file of a DICOM series."""
    files = list(files)
    parts = {part for path in files if path.suffix.lower() in _INDEX_SUFFIXES for part in index_parts(path)}
    folders: dict[Path, list[Path]] = {}
    for path in files:
        if path.suffix.lower() == ".dcm":
            folders.setdefault(path.parent, []).append(path)
    kept: dict[Path, Path] = {}
    for together in folders.values():
        if len(together) > 1:
            for members in series_of(together).values():
                kept |= {member.path: members[0].path for member in members}
    seen = set()
    for path in files:
        chosen = kept.get(path, path)
        if path not in parts and chosen not in seen:
            seen.add(chosen)
            yield chosen


def index_parts(path: Path) -> list[Path]:
    """Files beside a .vms or .vmu that it names."""
    try:
        with path.open("rb") as file:
            text = file.read(_INDEX_BYTES).decode("latin-1")
    except OSError:
        return []
    values = {line.partition("=")[2].strip() for line in text.splitlines() if "=" in line}
    return [path.parent / value for value in sorted(values) if Path(value).suffix and Path(value).name == value]
