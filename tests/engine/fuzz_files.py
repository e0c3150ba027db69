"""Small whole files of every kind that Opsin reads, and ways to damage them, for `test_fuzz.py`."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from opsin.engine.data.tiff import write_pyramid
from opsin.engine.labels.exchange import write_annotations
from opsin.engine.labels.shapes import Outline
from opsin.engine.labels.store import LabelStore
from opsin.engine.tiles import TilePyramid

from . import made_formats

HUGE = (0xFFFFFFFF, 0x7FFFFFFF, 1 << 20, 65535, 0)


def whole_files(folder: Path) -> list[tuple[str, Path]]:
    """Write one small file of each kind into `folder`; returns (kind, path)."""
    random = np.random.default_rng(5)
    small = random.integers(90, 250, (12, 16, 3), np.uint8)
    pixels = np.asarray(Image.fromarray(small).resize((256, 192)))
    rows = lambda y, height: pixels[y : y + height]  # noqa: E731
    files: list[tuple[str, Path]] = []

    def slide(name: str) -> Path:
        files.append(("slide", folder / name))
        return folder / name

    write_pyramid(slide("a.svs"), rows, 256, 192, mpp=0.5, magnification=20, tile=64, factors=(1, 4), style="aperio")
    write_pyramid(
        slide("b.tif"), rows, 256, 192, mpp=0.5, tile=64, factors=(1, 2), compression="deflate", style="generic"
    )
    for name in ("c.png", "d.jpg", "e.bmp", "f.webp"):
        Image.fromarray(pixels).save(slide(name))
    Image.fromarray(pixels).save(slide("strips.tif"), compression="tiff_lzw")
    made_formats.make_ndpi(slide("g.ndpi"), pixels)
    made_formats.make_scn(slide("h.scn"), pixels, (0, 0), (256, 192))
    made_formats.make_bif(slide("i.bif"), pixels)
    ring = [np.array([[10, 10], [90, 12], [80, 70], [20, 90]], float), np.array([[30, 30], [40, 30], [40, 40]], float)]
    outlines = [
        Outline("one", ring, "Tumor"),
        Outline("two", [ring[0] + 90], "Normal"),
        Outline("three", [ring[1]], "Tumor"),
    ]
    for name in ("a.xml", "b.geojson"):
        write_annotations(folder / name, outlines)
        files.append(("annotations", folder / name))
    with LabelStore.create(folder / "a.labels", 256, 192) as store:
        for outline in outlines:
            store.polygon(outline.rings, 1)
        store.flush()
    files.append(("labels", folder / "a.labels"))
    with TilePyramid.create(folder / "a.heat", 256, 192, base=1, reduce="mean", meta={"kind": "heat"}) as heat:
        with heat.transaction():
            heat.write(0, 0, np.pad(pixels[..., 0], ((0, 320), (0, 256))))
    files.append(("heat", folder / "a.heat"))
    (folder / "a.csv").write_text(
        "slide,label,split,patient\na.svs,positive,train,P1\nb.tif,negative,val,P2\n", encoding="utf-8"
    )
    files.append(("table", folder / "a.csv"))
    return files


# ---- damage ---------------------------------------------------------------------------------------------------------


def flipped(data: bytes, random: np.random.Generator) -> bytes:
    """Up to 24 bytes are something else; half of the time all of them near the beginning."""
    changed = bytearray(data)
    reach = len(data) if random.random() < 0.5 else min(len(data), 600)
    for place in random.integers(0, reach, random.integers(1, 25)):
        changed[place] = random.integers(0, 256)
    return bytes(changed)


def truncated(data: bytes, random: np.random.Generator) -> bytes:
    return data[: random.integers(0, len(data))]


def emptied(data: bytes, random: np.random.Generator) -> bytes:
    """A stretch of the file is zero, as after a crash of the machine that wrote it."""
    start = int(random.integers(0, len(data)))
    length = int(random.integers(1, max(2, len(data) // 2)))
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def mixed(data: bytes, random: np.random.Generator) -> bytes:
    """A stretch stands somewhere else, too."""
    a, b = sorted(random.integers(0, len(data), 2))
    place = int(random.integers(0, len(data)))
    return data[:place] + data[a:b] + data[place:]


def boasting(data: bytes, random: np.random.Generator) -> bytes:
    """Sizes, counts and offsets are declared huge: of a TIFF in its directories, of texts in their numbers."""
    if data[:4] in (b"II*\0", b"II+\0"):
        return _boasting_tiff(data, random)
    if data[:1] in b"{<[ s":
        return _boasting_text(data, random)
    changed = bytearray(data)
    for place in random.integers(0, min(len(data) - 4, 200), 2):
        struct.pack_into(">I" if random.random() < 0.5 else "<I", changed, place, int(random.choice(HUGE)))
    return bytes(changed)


def _boasting_tiff(data: bytes, random: np.random.Generator) -> bytes:
    changed, big = bytearray(data), data[2] == 43
    offset = struct.unpack_from("<Q" if big else "<I", data, 8 if big else 4)[0]
    count_form, entry, next_form = ("<Q", 20, "<Q") if big else ("<H", 12, "<I")
    entries = []
    while offset and offset + 8 < len(data) and len(entries) < 500:
        count = struct.unpack_from(count_form, data, offset)[0]
        start = offset + struct.calcsize(count_form)
        entries += [start + i * entry for i in range(min(count, 60)) if start + (i + 1) * entry <= len(data)]
        after = start + count * entry
        offset = struct.unpack_from(next_form, data, after)[0] if after + 8 <= len(data) else 0
    for _ in range(random.integers(1, 4)):
        place = entries[random.integers(len(entries))]
        field = place + (4 if random.random() < 0.3 else 12 if big else 8)  # the count, or the value
        value = int(random.choice(HUGE))
        if field + 8 <= len(changed):
            struct.pack_into("<Q" if big else "<I", changed, field, value)
    return bytes(changed)


def _boasting_text(data: bytes, random: np.random.Generator) -> bytes:
    text = data.decode("utf-8", "replace")
    numbers = list(re.finditer(r"\d+(?:\.\d+)?", text))
    for _ in range(min(3, len(numbers))):
        found = numbers[random.integers(len(numbers))]
        worse = str(
            random.choice(
                ["1e308", "-1e308", "NaN", "Infinity", "9" * 40, "-0", "", "0x7f", "null", "[[[[", '"', "&#0;"]
            )
        )
        text = text[: found.start()] + worse + text[found.start() + len(found[0]) :]
    return text.encode()


def nested(data: bytes, random: np.random.Generator) -> bytes:
    """Brackets without end."""
    depth = int(random.choice([100, 5_000, 100_000]))
    opening = {b"{": b'{"a":', b"[": b"[", b"<": b"<a>"}.get(data[:1].strip() or b"{", b"[")
    return opening * depth + data


DAMAGE: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    flipped,
    truncated,
    emptied,
    mixed,
    boasting,
    nested,
)


def suffix(path: Path) -> str:
    return ".ome.tif" if path.name.endswith(".ome.tif") else path.suffix


def describe(seed: int, source: Path, damage: Callable[..., bytes]) -> str:
    return json.dumps({"seed": seed, "file": source.name, "damage": damage.__name__})
