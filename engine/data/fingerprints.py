"""Fingerprints of slide files: the same after a move or a new name, other for other pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

# Bytes up to which a file is hashed whole for its fingerprint; a fraction of a second.
_HASHED_WHOLE = 64 << 20
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def file_fingerprint(path: Path) -> str:
    """SHA-256 that tells files with different pixels apart.

    Of the whole file up to 64 MiB, and of files without compression (there a few changed pixels change a few bytes and
    nothing else); of larger ones as `sampled_fingerprint`: any other pixels change the lengths of compressed tiles, and so
    the table of tiles and the size.
    """
    size = path.stat().st_size
    if size > _HASHED_WHOLE and not _uncompressed(path):
        return sampled_fingerprint(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    """SHA-256 over the size, the first and last 64 KiB and eight 4 KiB blocks between them; of small files over all."""
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
