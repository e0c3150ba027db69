"""The few facts of a DICOM file's header that say which files make one slide."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Everything that is needed lies before the pixels and the profile of colours.
_HEADER = 1 << 20
_IMPLICIT = "1.2.840.10008.1.2"
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SYNTAX, _KIND, _SERIES = 0x00020010, 0x00080008, 0x0020000E
_COLUMNS, _ROWS = 0x00480006, 0x00480007
_FRAME_WIDTH, _FRAME_HEIGHT = 0x00280011, 0x00280010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_OPEN = 0xFFFFFFFF
_DEEPEST = 16


@dataclass(frozen=True)
class Instance:
    """One DICOM file: the series it belongs to, what it shows ("VOLUME" = a level, "LABEL", ...), its size in pixels and that of
    a frame (width, height)."""

    path: Path
    series: str
    flavor: str
    columns: int
    rows: int
    frame: tuple[int, int]


def instance(path: Path) -> Instance | None:
    """Read the header of a DICOM file; None where it is none or is damaged. At most 1 MiB is read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER)
    except OSError:
        return None
    if head[128:132] != b"DICM":
        return None
    found: dict[int, bytes] = {}
    try:
        place = 132
        while place + 8 <= len(head) and head[place : place + 2] == b"\x02\x00":
            tag, value, place = _element(head, place, explicit=True)
            found[tag] = value
        syntax = _text(found.get(_SYNTAX, b""))
        while place + 8 <= len(head) and not {_SERIES, _COLUMNS, _ROWS} <= found.keys():
            tag, value, place = _element(head, place, explicit=syntax != _IMPLICIT)
            if tag > _ROWS:
                break
            found[tag] = value
    except (struct.error, ValueError):
        pass  # what was found so far may do
    if _SERIES not in found:
        return None
    kind = _text(found.get(_KIND, b"")).split("\\")
    columns, rows, wide, high = (_number(found, tag) for tag in (_COLUMNS, _ROWS, _FRAME_WIDTH, _FRAME_HEIGHT))
    return Instance(path, _text(found[_SERIES]), kind[2] if len(kind) > 2 else "", columns, rows, (wide, high))


def series_of(files: Iterable[Path]) -> dict[str, list[Instance]]:
    """DICOM files by series, the finest level of each slide first; what is no DICOM file is left out."""
    groups: dict[str, list[Instance]] = {}
    for found in filter(None, map(instance, sorted(files))):
        groups.setdefault(found.series, []).append(found)
    for members in groups.values():
        members.sort(key=lambda member: (member.flavor != "VOLUME", -member.columns * member.rows, member.path.name))
    return groups


def dicom_files(folder: Path) -> Iterator[Path]:
    """Files directly in a folder that are named ``.dcm``."""
    try:
        yield from (path for path in folder.iterdir() if path.suffix.lower() == ".dcm" and path.is_file())
    except OSError:
        return


def finest(path: Path) -> Path:
    """The file with the finest level of the slide that a DICOM file or folder belongs to: the same for all its files."""
    if path.is_dir():
        groups = series_of(dicom_files(path))
        return next(iter(groups.values()))[0].path if groups else path
    own = instance(path)
    if own is None:
        return path
    return series_of({path, *dicom_files(path.parent)})[own.series][0].path


def _element(data: bytes, place: int, explicit: bool, depth: int = 0) -> tuple[int, bytes, int]:
    """(tag, value, place after it); the value of a sequence is empty."""
    group, number = struct.unpack_from("<HH", data, place)
    tag = group << 16 | number
    kind = data[place + 4 : place + 6]
    if group == 0xFFFE or not explicit:
        (length,), place = struct.unpack_from("<I", data, place + 4), place + 8
        kind = b"SQ" if length == _OPEN else b""
    elif kind in _LONG:
        (length,), place = struct.unpack_from("<I", data, place + 8), place + 12
    else:
        (length,), place = struct.unpack_from("<H", data, place + 6), place + 8
    if length != _OPEN:
        if place + length > len(data):
            raise ValueError("it ends within an element")
        return tag, data[place : place + length], place + length
    if depth > _DEEPEST:
        raise ValueError("its sequences are nested too deep")
    while True:  # items up to the end of the sequence, or elements up to the end of the item
        inner, _, place = _element(data, place, explicit, depth + 1)
        if inner in (_SEQUENCE_END, _ITEM_END):
            return tag, b"", place


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").rstrip("\0 ")


def _number(found: dict[int, bytes], tag: int) -> int:
    value = found.get(tag, b"")
    return int.from_bytes(value, "little") if len(value) in (2, 4) else 0
