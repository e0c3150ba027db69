"""Ways to damage a file, for `test_fuzz.py`: bytes in, bytes out, the same for the same random numbers."""

import json
import re
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing

import imagecodecs
import numpy as np

Damage = Callable[[bytes, np.random.Generator], bytes]
HUGE = (0xFFFFFFFF, 0x7FFFFFFF, 1 << 20, 65535, 0)
NONSENSE = ["1e308", "-1e308", "NaN", "Infinity", "9" * 40, "-0", "", "0x7f", "null", "[[[[", '"', "&#0;", "{}", "[]"]
VALUES = (
    None,
    "",
    "x",
    "[[1, 2], {}]",
    "{}",
    "null",
    "NaN",
    -1,
    0,
    5,
    2**31,
    2**62,
    -(2**63),
    1e308,
    float("inf"),
    b"\0" * 9,
)
BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij"))
    + "]>"
)


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
    """Sizes, counts and offsets are declared huge: of a TIFF in its directories, of texts in their numbers, and so on."""
    if data[:4] in (b"II*\0", b"II+\0"):
        return _boasting_tiff(data, random)
    if data[:6] == b"SQLite":
        return _boasting_database(data, random)
    if is_safetensors(data):
        head, rest = _weights(data)
        return _as_weights(_boasting_text(head, random), rest)
    if _is_text(data):
        return _boasting_text(data, random)
    changed = bytearray(data)
    if len(data) > 8:
        for place in random.integers(0, min(len(data) - 4, 200), 2):
            struct.pack_into(">I" if random.random() < 0.5 else "<I", changed, place, int(random.choice(HUGE)))
    return bytes(changed)


def nested(data: bytes, random: np.random.Generator) -> bytes:
    """Brackets without end; half of the time at the place of a value, where they are closed again."""
    depth = int(random.choice([100, 5_000, 100_000]))
    if is_safetensors(data):
        head, rest = _weights(data)
        if random.random() < 0.5:
            return _as_weights(b'{"a":' * depth + head, rest)
        deep = json.dumps("[" * depth + "]" * depth).encode()
        return _as_weights(re.sub(rb'"opsin":"(?:[^"\\]|\\.)*"', b'"opsin":' + deep, head), rest)
    places = list(re.finditer(rb"(?<=[:=>])\s*[\w.]+", data)) if _is_text(data) and data[:1] != b"<" else []
    if places and random.random() < 0.5:
        found = places[random.integers(len(places))]
        return data[: found.start()] + b" " + b"[" * depth + b"]" * depth + data[found.end() :]
    opening = {b"{": b'{"a":', b"[": b"[", b"<": b"<a>"}.get(data[:1].strip() or b"{", b"[")
    return opening * depth + data


def bombed(data: bytes, random: np.random.Generator) -> bytes:
    """A few hundred bytes that unfold to gigabytes: entities of XML, aliases of YAML, numbers of a million digits."""
    text = data.decode("utf-8", "replace")
    if text.lstrip()[:1] == "<":
        start = text.index("?>") + 2 if text.startswith("<?") and "?>" in text else 0
        body = re.sub(r'="[^"]*"', '="&j;"', text[start:], count=int(random.integers(1, 9)))
        return (text[:start] + BOMB + body).encode()
    if is_safetensors(data):
        head, rest = _weights(data)
        return _as_weights(re.sub(rb"\d+", b"9" * 1_000_000, head, count=1), rest)
    if not _is_text(data):
        return boasting(data, random)
    if re.match(r"(#|\w+:)", text):
        lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['lol'] * 9)}]" for n in range(9)]
        names = re.findall(r"^(\w+):", text, re.MULTILINE) or ["seed"]
        name = str(random.choice(names))
        return ("\n".join([*lines, f"{name}: *a8", ""]) + re.sub(rf"(?m)^{name}:.*\n", "", text)).encode()
    numbers = list(re.finditer(r"\d+", text))
    if not numbers:
        return data * 2
    found = numbers[random.integers(len(numbers))]
    return (text[: found.start()] + "9" * 1_000_000 + text[found.end() :]).encode()


DAMAGE: tuple[Damage, ...] = (flipped, truncated, emptied, mixed, boasting, nested, bombed)


def _is_text(data: bytes) -> bool:
    return b"\0" not in data[:200] and data[:1].isascii() and not data.startswith((b"\x89PNG", b"\xff\xd8"))


def is_safetensors(data: bytes) -> bool:
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def _weights(data: bytes) -> tuple[bytes, bytes]:
    """The JSON header and the tensors."""
    size = int.from_bytes(data[:8], "little")
    return data[8 : 8 + size], data[8 + size :]


def _as_weights(head: bytes, rest: bytes) -> bytes:
    return len(head).to_bytes(8, "little") + head + rest


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
    for _ in range(3):
        words = list(re.finditer(r"-?\d+(?:\.\d+)?|true|false|null" if random.random() < 0.7 else r'"[^"]*"', text))
        if words:
            found = words[random.integers(len(words))]
            text = text[: found.start()] + str(random.choice(NONSENSE)) + text[found.end() :]
    return text.encode()


def _boasting_database(data: bytes, random: np.random.Generator) -> bytes:
    """Up to four cells of a sound database hold something else: another type, a size, a text, packed data with flipped bytes."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(data[:18] + b"\1\1" + data[20:])  # a copy in memory has no log beside it
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        filled = [name for name in tables if connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]]
        for _ in range(random.integers(1, 5)):
            table = filled[random.integers(len(filled))]
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            row, column = rows[random.integers(len(rows))], int(random.integers(len(names)))
            where = " AND ".join(f"{name} IS ?" for name in names)
            worse = _other(row[column], random)
            try:
                connection.execute(f"UPDATE {table} SET {names[column]} = ? WHERE {where}", (worse, *row))
            except sqlite3.IntegrityError:
                continue  # a key or NOT NULL: the file would not hold that
        changed = connection.serialize()
    return changed[:18] + data[18:20] + changed[20:]


def _other(value: object, random: np.random.Generator) -> object:
    if isinstance(value, bytes) and value and random.random() < 0.7:
        try:
            inside = bytes(imagecodecs.zstd_decode(value))
        except RuntimeError:
            return flipped(value, random)
        size = int.from_bytes(inside[:4], "little")
        if inside[4:5] == b"[" and random.random() < 0.7:
            head = _boasting_text(inside[4 : 4 + size], random)
            return bytes(imagecodecs.zstd_encode(len(head).to_bytes(4, "little") + head + inside[4 + size :]))
        return bytes(imagecodecs.zstd_encode(flipped(inside, random)))
    if isinstance(value, str) and len(value) > 1 and random.random() < 0.6:
        return _boasting_text(value.encode(), random).decode()
    return VALUES[random.integers(len(VALUES))]
