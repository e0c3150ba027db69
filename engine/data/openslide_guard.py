"""What must be looked at before OpenSlide opens a file: damage that would end the process, not just the opening.

OpenSlide (and GLib below it) ends the process where memory cannot be had, walks through every declared tile, and in version 4.0
crashes on a VMU whose pixels are not 3 x 12 bit. So declared sizes are checked here first; what they say in a good file passes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .dicom import dicom_files, instance
from .fingerprints import TIFF_MAGIC

LARGEST_TILE = 1 << 27
"""Pixels that one tile may have: 512 MB as OpenSlide keeps it, all at once. An NDPI level without restart markers is one tile."""

_MOST_TILES = 1 << 23
_INDEX_BYTES = 1 << 18
_LARGEST_IMAGE = 1 << 14
_VMU = b"[Uncompressed Virtual Microscope Specimen]"
_VMS = b"[Virtual Microscope Specimen]"


def refusal(path: Path) -> str | None:
    """Why OpenSlide must not open this file (a part of a sentence), None where it may."""
    with path.open("rb") as file:
        head = file.read(_INDEX_BYTES)
    if head[:4] in TIFF_MAGIC:
        return _tiff(path)
    if head[128:132] == b"DICM":
        return _dicom({path, *dicom_files(path.parent)})
    if path.suffix == ".mrxs":
        return _mirax(path.with_suffix("") / "Slidedat.ini")
    if _VMU in head:
        return _vmu(path, head)
    if _VMS in head:
        return _vms(head)
    return None


def _tiles(sizes: Iterable[tuple[int, int]]) -> str | None:
    for width, height in sizes:
        if width * height > LARGEST_TILE:
            return f"it declares tiles of {width:,} x {height:,} pixels"
    return None


def _tiff(path: Path) -> str | None:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            pages: list[Any] = [tiff.pages.get(i, aspage=True) for i in range(len(tiff.pages))]
            tiled = [page for page in pages if page.is_tiled]
            for page in tiled:
                needed = -(-page.imagewidth // page.tilewidth) * -(-page.imagelength // page.tilelength)
                if len(page.dataoffsets) < needed:  # OpenSlide would try each of them for every look at the slide
                    return f"it lists {len(page.dataoffsets):,} tiles where {needed:,} are needed"
            return _tiles((page.tilewidth, page.tilelength) for page in tiled)
    except Exception:  # OpenSlide reads the structure by itself and says what is wrong with it
        return None


def _dicom(paths: Iterable[Path]) -> str | None:
    for found in filter(None, map(instance, paths)):
        wide, high = found.frame
        if not wide or not high:
            continue
        tiles = -(-found.columns // wide) * -(-found.rows // high)
        if tiles > _MOST_TILES:
            return f"{found.path.name} declares {tiles:,} tiles"
        if reason := _tiles([found.frame]):
            return reason
    return None


def _values(text: bytes, key: str) -> list[str]:
    return [v.decode("latin-1").strip() for v in re.findall(rb"(?m)^\s*" + key.encode() + rb"\s*=(.*)$", text)]


def _number(text: str) -> int:
    """The digits at the beginning, as GLib reads them; -1 where there are none."""
    found = re.match(r"\+?(\d{1,18})", text)
    return int(found[1]) if found else -1


def _mirax(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            text = file.read(_INDEX_BYTES)
    except OSError:
        return None  # OpenSlide says so
    limits = {"DIGITIZER_WIDTH": _LARGEST_IMAGE, "DIGITIZER_HEIGHT": _LARGEST_IMAGE, "HIER_0_COUNT": 64,
              "NONHIER_COUNT": 1 << 16, "HIER_COUNT": 1 << 16, "FILE_COUNT": 1 << 20}  # fmt: skip
    for key, limit in limits.items():
        for value in _values(text, key):
            if _number(value) > limit:
                return f"its Slidedat.ini says {key}={value[:20]}"
    across, down = (max(map(_number, _values(text, f"IMAGENUMBER_{axis}")), default=0) for axis in "XY")
    for value in _values(
        text, "CameraImageDivisionsPerSide"
    ):  # OpenSlide divides by it and keeps a place for each quotient
        if not 1 <= _number(value) <= min(across, down):
            return f"its Slidedat.ini says CameraImageDivisionsPerSide={value[:20]}"
    return f"it declares {across * down:,} images" if across * down > _MOST_TILES else None


def _vms(text: bytes) -> str | None:
    across, down = (max(map(_number, _values(text, f"NoJpeg{axis}")), default=0) for axis in ("Columns", "Rows"))
    return f"it declares {across * down:,} pictures" if across * down > 1 << 16 else None


def _vmu(path: Path, text: bytes) -> str | None:
    text = text[text.index(_VMU) :]
    following = text.find(b"\n[")
    text = text[: following if following > 0 else None]
    if _values(text, "BitsPerPixel") != ["36"] or _values(text, "PixelOrder") != ["RGB"]:
        return "its pixels are not RGB of 36 bits"
    for key in ("ImageFile", "MapFile"):
        for name in _values(text, key):
            part = path.parent / name
            if not part.is_file():
                return f"{name} is not beside it"
            with part.open("rb") as file:
                head = file.read(28)
            if len(head) < 28 or head[:2] != b"GN":
                return f"{name} is damaged"
            width, height, column = struct.unpack_from("<3i", head, 4)
            (start,) = struct.unpack_from("<i", head, 24)
            if min(width, height, column, start) <= 0 or start + width * height * 6 > part.stat().st_size:
                return f"{name} is truncated or damaged"
    return None
