"""Minimal slides of vendors without a sample at hand, written from what OpenSlide 4 asks of their formats.

Each maker stores `pixels` (uint8 [height, width, 3]) such that level 0 shows them, and at least one coarser level with their means
of 2 x 2. Label or macro images, where the format has them, are plain red, so that a test sees when one is read.
"""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

RED = np.zeros((64, 128, 3), np.uint8)
RED[..., 0] = 255


def halved(pixels: np.ndarray) -> np.ndarray:
    return cv2.resize(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2), interpolation=cv2.INTER_AREA)


# -- TIFF: Leica and Ventana -----------------------------------------------------------------------------------------


def make_scn(path: Path, pixels: np.ndarray, corner: tuple[int, int], size: tuple[int, int], mpp: float = 0.5) -> None:
    """Leica SCN: a BigTIFF whose XML puts a scanned area at `corner` on a slide of `size`, all in pixels."""
    nm = round(mpp * 1000)
    height, width = pixels.shape[:2]
    levels = [pixels, halved(pixels)]

    def image(x: int, y: int, across: int, down: int, pages: list[tuple[int, np.ndarray]], lens: float) -> str:
        dimensions = "".join(
            f'<dimension sizeX="{p.shape[1]}" sizeY="{p.shape[0]}" r="0" ifd="{n}"/>' for n, p in pages
        )
        return (
            f'<image name="i"><creationDate>2020-01-01</creationDate><device model="Leica SCN400" version="1"/>'
            f'<pixels sizeX="{across}" sizeY="{down}">{dimensions}</pixels>'
            f'<view sizeX="{across * nm}" sizeY="{down * nm}" offsetX="{x * nm}" offsetY="{y * nm}"/>'
            f"<scanSettings><objectiveSettings><objective>{lens:g}</objective></objectiveSettings><illuminationSettings>"
            f"<numericalAperture>0.4</numericalAperture><illuminationSource>brightfield</illuminationSource>"
            f"</illuminationSettings></scanSettings></image>"
        )

    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection name="c" sizeX="{size[0] * nm}" sizeY="{size[1] * nm}"><barcode>MTIz</barcode>'
        + image(*corner, width, height, list(enumerate(levels)), 20)
        + image(0, 0, *size, [(2, RED)], 0.6)
        + "</collection></scn>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for number, level in enumerate([*levels, RED]):
            tiff.write(level, photometric="rgb", tile=(64, 64), compression="adobe_deflate", metadata=None,
                       description=xml if number == 0 else None, resolution=(1e4 / mpp / 2**number,) * 2,
                       resolutionunit="CENTIMETER")  # fmt: skip


def make_bif(path: Path, pixels: np.ndarray, tile: int = 64, overlap: int = 8) -> None:
    """Ventana BIF: tiles that overlap, numbered like a snake from the lower left, at 40x with 0.25 µm per pixel.

    `pixels` must be ``tile + n * (tile - overlap)`` wide and high.
    """
    step = tile - overlap
    columns, rows = ((side - overlap) // step for side in (pixels.shape[1], pixels.shape[0]))

    def cut(picture: np.ndarray, scale: int) -> np.ndarray:
        """Tiles side by side, each with what it shares with its neighbours."""
        side, advance = tile // scale, step // scale
        bands = [
            np.hstack([picture[r * advance :, c * advance :][:side, :side] for c in range(columns)])
            for r in range(rows)
        ]
        return np.vstack(bands)

    def number(column: int, row: int) -> int:
        up = rows - 1 - row
        return up * columns + (columns - 1 - column if up % 2 else column) + 1

    def joint(direction: str, first: tuple[int, int], second: tuple[int, int], x: int, y: int) -> str:
        return (
            f'<TileJointInfo FlagJoined="1" Confidence="100" Direction="{direction}" Tile1="{number(*first)}" '
            f'Tile2="{number(*second)}" OverlapX="{x}" OverlapY="{y}"/>'
        )

    joints = [joint("RIGHT", (c, r), (c + 1, r), overlap, 0) for r in range(rows) for c in range(columns - 1)]
    joints += [joint("UP", (c, r + 1), (c, r), 0, overlap) for r in range(rows - 1) for c in range(columns)]
    first = b'<Metadata><iScan Magnification="40" ScanRes="0.25" UnitNumber="1"/></Metadata>'
    areas = (
        f'<EncodeInfo Ver="2"><SlideStitchInfo><ImageInfo AOIScanned="1" AOIIndex="0" Width="{tile}" Height="{tile}" '
        f'NumRows="{rows}" NumCols="{columns}" Pos-X="0" Pos-Y="0">{"".join(joints)}</ImageInfo></SlideStitchInfo>'
        '<AoiOrigin><AOI0 OriginX="0" OriginY="0"/></AoiOrigin></EncodeInfo>'
    ).encode()
    options = {"photometric": "rgb", "compression": "adobe_deflate", "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        tiff.write(RED, description="Label_Image", extratags=[(700, 1, len(first), first, True)], **options)
        tiff.write(cut(pixels, 1), tile=(tile, tile), description="level=0 mag=40 quality=90",
                   extratags=[(700, 1, len(areas), areas, True)], **options)  # fmt: skip
        tiff.write(cut(halved(pixels), 2), tile=(tile, tile), description="level=1 mag=20 quality=90", **options)


# -- Hamamatsu ---------------------------------------------------------------------------------------------------------


def make_ndpi(path: Path, pixels: np.ndarray, mpp: float = 0.25) -> None:
    """Hamamatsu NDPI: a classic TIFF with 64-bit offsets between its directories, each level one JPEG, then a macro image."""
    pages = [(pixels, 20.0), (halved(pixels), 10.0), (RED, -1.0)]
    body = bytearray(b"II*\0" + bytes(8) + bytes(4))
    link = 4  # where the offset of the next directory goes
    for picture, lens in pages:
        height, width = picture.shape[:2]
        jpeg = _jpeg(picture)
        start = len(body)
        body += jpeg + bytes(len(jpeg) % 2)
        resolution = len(body)
        body += struct.pack("<2I", round(1e4 / mpp / (pixels.shape[1] / width) * 1000), 1000)
        make = len(body)
        body += b"Hamamatsu\0"
        one = struct.pack("<f", lens)
        entries = [
            (256, 4, 1, struct.pack("<I", width)),
            (257, 4, 1, struct.pack("<I", height)),
            (258, 3, 1, struct.pack("<I", 8)),
            (259, 3, 1, struct.pack("<I", 7)),
            (262, 3, 1, struct.pack("<I", 6)),
            (271, 2, 10, struct.pack("<I", make)),
            (273, 4, 1, struct.pack("<I", start)),
            (277, 3, 1, struct.pack("<I", 3)),
            (278, 4, 1, struct.pack("<I", height)),
            (279, 4, 1, struct.pack("<I", len(jpeg))),
            (282, 5, 1, struct.pack("<I", resolution)),
            (283, 5, 1, struct.pack("<I", resolution)),
            (296, 3, 1, struct.pack("<I", 3)),
            (65420, 4, 1, struct.pack("<I", 1)),
            (65421, 11, 1, one),
            (65424, 9, 1, struct.pack("<i", 0)),
        ]
        directory = len(body)
        body[link : link + 8] = struct.pack("<Q", directory)
        body += struct.pack("<H", len(entries))
        for tag, kind, count, value in entries:
            body += struct.pack("<HHI", tag, kind, count) + value
        link = len(body)
        body += bytes(8) + bytes(4 * len(entries))  # next directory, then the upper halves of the values
    path.write_bytes(body)


def make_vms(path: Path, pixels: np.ndarray, mpp: float = 0.5) -> list[Path]:
    """Hamamatsu VMS: two JPEGs side by side with restart markers, a map of half the size, a macro; return the files beside it."""
    half = pixels.shape[1] // 2
    parts = {"ImageFile": pixels[:, :half], "ImageFile(1,0)": pixels[:, half:], "MapFile": halved(pixels)}
    lines = ["[Virtual Microscope Specimen]", "NoLayers=1", "NoJpegColumns=2", "NoJpegRows=1"]
    beside = []
    for key, picture in [*parts.items(), ("MacroImage", RED)]:
        beside.append(path.with_name(f"{path.stem}-{key.replace('(', '').replace(',', '').replace(')', '')}.jpg"))
        beside[-1].write_bytes(_jpeg(picture, restart=64))
        lines.append(f"{key}={beside[-1].name}")
    size = [
        f"{name}={side * mpp * 1000:g}" for name, side in zip(("PhysicalWidth", "PhysicalHeight"), pixels.shape[1::-1])
    ]
    path.write_text("\r\n".join([*lines, *size, "SourceLens=20", ""]))
    return beside


def make_vmu(path: Path, pixels: np.ndarray, column: int = 32) -> None:
    """Hamamatsu VMU: 12 bits per sample in columns, uncompressed; the width (and half of it) must be whole columns."""
    lines = ["[Uncompressed Virtual Microscope Specimen]", "BitsPerPixel=36", "PixelOrder=RGB", "SourceLens=20",
             f"PhysicalWidth={pixels.shape[1] * 500}", f"PhysicalHeight={pixels.shape[0] * 500}"]  # fmt: skip
    for key, picture in (("ImageFile", pixels), ("MapFile", halved(pixels))):
        height, width = picture.shape[:2]
        columns = (picture.astype("<u2") << 4).reshape(height, width // column, column, 3).swapaxes(0, 1)
        head = b"GN" + bytes(2) + struct.pack("<3i", width, height, column) + bytes(8) + struct.pack("<i", 64)
        name = f"{path.stem}-{key}.ngr"
        path.with_name(name).write_bytes(head.ljust(64, b"\0") + columns.tobytes())
        lines.append(f"{key}={name}")
    path.write_text("\r\n".join([*lines, ""]))


# -- MIRAX -------------------------------------------------------------------------------------------------------------


def make_mrxs(path: Path, pixels: np.ndarray, tile: int = 64, empty_columns: int = 1) -> None:
    """3DHistech MIRAX: Slidedat.ini, Index.dat and Data0000.dat in the folder beside `path`.

    The slide is `empty_columns` (an even number keeps the halves apart) columns of tiles wider on the left than what was scanned,
    `pixels`, whose sides must be even numbers of tiles.
    """
    folder = path.with_suffix("")
    folder.mkdir()
    height, width = pixels.shape[:2]
    across, down = width // tile + empty_columns, height // tile
    whole = np.full((height, across * tile, 3), 255, np.uint8)
    whole[:, empty_columns * tile :] = pixels
    data = bytearray()
    pages = []
    for level, picture in enumerate((whole, halved(whole))):
        step = 1 << level
        entries = []
        for y in range(0, down, step):
            for x in range(0, across, step):
                if x + step <= empty_columns:
                    continue
                part = np.full((tile, tile, 3), 255, np.uint8)
                cut = picture[y // step * tile :, x // step * tile :][:tile, :tile]
                part[: cut.shape[0], : cut.shape[1]] = cut
                encoded = _png(part)
                entries.append((y * across + x, len(data), len(encoded), 0))
                data += encoded
        pages.append(entries)
    name = "0123456789ABCDEF0123456789ABCDEF"
    root = 5 + len(name)
    index = bytearray(b"01.02" + name.encode() + struct.pack("<2i", root + 8, 0))
    pointers = len(index)
    index += bytes(4 * len(pages))
    for level, entries in enumerate(pages):
        index[pointers + 4 * level : pointers + 4 * level + 4] = struct.pack("<i", len(index))
        index += struct.pack("<2i", 0, len(index) + 8) + struct.pack("<2i", len(entries), 0)
        for entry in entries:
            index += struct.pack("<4i", *entry)
    lines = ["[GENERAL]", f"SLIDE_ID={name}", f"IMAGENUMBER_X={across}", f"IMAGENUMBER_Y={down}",
             "OBJECTIVE_MAGNIFICATION=20", "CameraImageDivisionsPerSide=1", "[HIERARCHICAL]", "HIER_COUNT=1",
             "NONHIER_COUNT=0", "INDEXFILE=Index.dat", "HIER_0_NAME=Slide zoom level", f"HIER_0_COUNT={len(pages)}"]  # fmt: skip
    lines += [f"HIER_0_VAL_{level}_SECTION=LAYER_0_LEVEL_{level}_SECTION" for level in range(len(pages))]
    lines += ["[DATAFILE]", "FILE_COUNT=1", "FILE_0=Data0000.dat"]
    for level in range(len(pages)):
        lines += [f"[LAYER_0_LEVEL_{level}_SECTION]", "OVERLAP_X=0", "OVERLAP_Y=0", "IMAGE_FORMAT=PNG",
                  f"MICROMETER_PER_PIXEL_X={0.5 * 2**level}", f"MICROMETER_PER_PIXEL_Y={0.5 * 2**level}",
                  "IMAGE_FILL_COLOR_BGR=16777215", f"DIGITIZER_WIDTH={tile}", f"DIGITIZER_HEIGHT={tile}",
                  f"IMAGE_CONCAT_FACTOR={min(level, 1)}"]  # fmt: skip
    (folder / "Slidedat.ini").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, ""]).encode())
    (folder / "Index.dat").write_bytes(index)
    (folder / "Data0000.dat").write_bytes(data)
    path.write_bytes(b"made by a test")


# -- DICOM -------------------------------------------------------------------------------------------------------------

_TEXT = {"UI", "CS", "DS", "IS", "LO", "SH"}


def make_dicom(
    folder: Path, pixels: np.ndarray, tile: int = 64, series: str = "1.2.3.4", mpp: float = 0.5
) -> list[Path]:
    """DICOM whole slide: two levels and a label as instances of one series, uncompressed; the finest level comes last by name."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number, (picture, flavor) in enumerate([(RED, "LABEL"), (halved(pixels), "VOLUME"), (pixels, "VOLUME")]):
        height, width = picture.shape[:2]
        side = tile if flavor == "VOLUME" else 128
        columns, rows = -(-width // side), -(-height // side)
        if flavor != "VOLUME":
            side, columns, rows = (width, height), 1, 1
        wide, high = (side, side) if isinstance(side, int) else side
        padded = np.pad(picture, ((0, rows * high - height), (0, columns * wide - width), (0, 0)))
        frames = padded.reshape(rows, high, columns, wide, 3).swapaxes(1, 2)
        spacing = f"{mpp / 1000 * pixels.shape[1] / width:g}"
        meta = _element(0x00020001, "OB", b"\0\1") + _element(0x00020002, "UI", "1.2.840.10008.5.1.4.1.1.77.1.6")
        meta += _element(0x00020003, "UI", f"{series}.{number}") + _element(0x00020010, "UI", "1.2.840.10008.1.2.1")
        measures = _sequence(0x00289110, _element(0x00280030, "DS", f"{spacing}\\{spacing}"))
        facts = [
            (0x00080008, "CS", f"DERIVED\\PRIMARY\\{flavor}\\RESAMPLED"),
            (0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.77.1.6"),
            (0x00080018, "UI", f"{series}.{number}"),
            (0x00080060, "CS", "SM"),
            (0x0020000D, "UI", "1.2.3"),
            (0x0020000E, "UI", series),
            (0x00209311, "CS", "TILED_FULL"),
            (0x00280002, "US", 3),
            (0x00280004, "CS", "RGB"),
            (0x00280006, "US", 0),
            (0x00280008, "IS", str(rows * columns)),
            (0x00280010, "US", high),
            (0x00280011, "US", wide),
            (0x00280100, "US", 8),
            (0x00280101, "US", 8),
            (0x00280102, "US", 7),
            (0x00280103, "US", 0),
            (0x00480006, "UL", width),
            (0x00480007, "UL", height),
        ]
        body = b"".join(_element(*fact) for fact in facts)
        body += _sequence(0x00480105, _element(0x00480112, "DS", "20"))
        body += _sequence(0x52009229, measures) + _element(0x7FE00010, "OB", frames.tobytes())
        paths.append(folder / f"instance{number}.dcm")
        head = bytes(128) + b"DICM" + _element(0x00020000, "UL", len(meta))
        paths[-1].write_bytes(head + meta + body)
    return paths


def _element(tag: int, kind: str, value: object) -> bytes:
    if kind in _TEXT:
        raw = str(value).encode()
        raw += (b"\0" if kind == "UI" else b" ") * (len(raw) % 2)
    elif kind in ("US", "UL"):
        raw = struct.pack("<H" if kind == "US" else "<I", value)
    else:
        assert isinstance(value, bytes)
        raw = value
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind.encode()
    return head + (struct.pack("<xxI", len(raw)) if kind in ("OB", "SQ") else struct.pack("<H", len(raw))) + raw


def _sequence(tag: int, item: bytes) -> bytes:
    """A sequence of undefined length with one item."""
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    head = struct.pack("<HH2sxxI", tag >> 16, tag & 0xFFFF, b"SQ", 0xFFFFFFFF)
    return head + struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item + end


# -- parts -------------------------------------------------------------------------------------------------------------


def _jpeg(picture: np.ndarray, restart: int = 0) -> bytes:
    """`restart`: pixels between restart markers, 0 = none."""
    file = io.BytesIO()
    options = {"restart_marker_blocks": restart // 8} if restart else {}
    Image.fromarray(picture).save(file, "jpeg", quality=95, subsampling=0, **options)
    return file.getvalue()


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()
