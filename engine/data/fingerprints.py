"""Fingerprints of slide files: the same after a move or a new name, other for other pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import from_json

# Bytes up to which a file is hashed whole for its fingerprint; a fraction of a second.
_HASHED_WHOLE = 64 << 20
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Of a folder with very many files the first ones, in order of name, are counted.
_MOST_FILES = 20_000
_METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")


def file_fingerprint(path: Path) -> str:
    """SHA-256 that tells slides with different pixels apart.

    Of the whole file up to 64 MiB, and of files without compression (there a few changed pixels change a few bytes and
    nothing else); of larger ones as `sampled_fingerprint`: any other pixels change the lengths of compressed tiles, and so
    the table of tiles and the size. Of a DICOM slide (a folder, or any file of it) that of the file with the finest level; of
    an OME-Zarr over its metadata and its coarsest level, which all pixels take part in; of a MIRAX or VMS slide over the file
    that is opened and what identifies its parts.
    """
    suffix = path.suffix.lower()
    if suffix == ".dcm" or path.is_dir():
        from .dicom import finest

        path = finest(path)
    if path.is_dir():
        return _folder_fingerprint(path)
    if suffix in (".mrxs", ".vms", ".vmu"):
        return _index_fingerprint(path)
    size = path.stat().st_size
    if size > _HASHED_WHOLE and not _uncompressed(path):
        return sampled_fingerprint(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_fingerprint(folder: Path) -> str:
    digest = hashlib.sha256(b"folder")
    names = [path for name in _METADATA if (path := folder / name).is_file()]
    for path in names:
        digest.update(path.read_bytes()[: 1 << 20])
    coarsest = _coarsest(folder)
    files = sorted(path for path in _files(coarsest) if path not in names)
    left = _HASHED_WHOLE
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
        if size <= left:
            left -= size
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for count, path in enumerate(folder.rglob("*")):
        if count >= _MOST_FILES:
            return
        if path.is_file():
            yield path


def _coarsest(folder: Path) -> Path:
    """Folder of the coarsest level of an OME-Zarr; the whole folder where its metadata do not say."""
    for _ in range(2):
        facts: Any = {}
        try:
            if (folder / ".zattrs").is_file():
                facts = from_json((folder / ".zattrs").read_bytes())
            elif (folder / "zarr.json").is_file():
                facts = from_json((folder / "zarr.json").read_bytes())["attributes"]
                facts = facts.get("ome", facts)
            level = folder / str(facts["multiscales"][0]["datasets"][-1]["path"])
            return level if level.is_dir() and folder in level.parents else folder
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            if not (folder / "0").is_dir():
                return folder
            folder = folder / "0"  # bioformats2raw puts the image into group 0
    return folder


def _index_fingerprint(path: Path) -> str:
    from .sets import index_parts

    digest = hashlib.sha256(path.read_bytes()[:_HASHED_WHOLE])
    slidedat = path.with_suffix("") / "Slidedat.ini"
    if slidedat.is_file():
        digest.update(slidedat.read_bytes()[: 1 << 20])
    for part in index_parts(path) if path.suffix.lower() != ".mrxs" else ():
        if part.is_file():
            digest.update(f"{part.name} {sampled_fingerprint(part)}".encode())
    return digest.hexdigest()


def _uncompressed(path: Path) -> bool:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == b"BM":
        return True
    if magic not in TIFF_MAGIC:
        return False
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return bool(tiff.pages.first.compression == 1)
    except Exception:  # damaged: opening the slide says so
        return False


def sampled_fingerprint(path: Path) -> str:
    """SHA-256 over the size, the first and last 64 KiB and eight 4 KiB blocks between them; of small files over all.

    Of a folder that of `file_fingerprint`.
    """
    if path.is_dir():
        return file_fingerprint(path)
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for offset, count in _sampled_blocks(size):
            file.seek(offset)
            digest.update(file.read(count))
    return digest.hexdigest()


def _sampled_blocks(size: int) -> Iterator[tuple[int, int]]:
    edge = 64 * 1024
    if size <= 4 * edge:
        yield 0, size
        return
    yield 0, edge
    for part in range(1, 9):
        yield size * part // 9, 4096
    yield size - edge, edge
