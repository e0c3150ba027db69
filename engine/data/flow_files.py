"""Files that hold a flow: Middlebury ``.flo``, KITTI 16-bit ``.png``, ``.pfm``, ``.npy`` and ``.npz``.

A flow is float32 [H, W, 2]: for each pixel of the first picture how far its counterpart lies in the second, x to the right, y
down, in pixels. Unknown pixels are NaN in both components.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from ..errors import OpsinError
from ..files import replacing

FLO_MAGIC = 202021.25
FLO_UNKNOWN = 1e9
"""Values of a larger size mean unknown."""
SUFFIXES = (".flo", ".png", ".pfm", ".npy", ".npz")
_KITTI_LIMITS = (-512.0, (65535 - 32768) / 64)
_MOST_PIXELS = 1 << 30


class FlowError(OpsinError):
    """A file of flow is damaged, of another kind, or cannot hold what is to be written."""


def is_flow_file(path: Path) -> bool:
    """Tell by its name and its first bytes whether a file may hold a flow (a picture ``.png`` of 8 bits does not)."""
    suffix = path.suffix.lower()
    if suffix != ".png":
        return suffix in SUFFIXES
    try:
        with path.open("rb") as file:
            start = file.read(26)
    except OSError:
        return False
    return start[:8] == b"\x89PNG\r\n\x1a\n" and start[24:26] == b"\x10\x02"


def read_flow(path: Path) -> np.ndarray:
    """Return the flow in a file, float32 [H, W, 2], unknown pixels as NaN.

    Raises
    ------
    FlowError : the file is missing, damaged or holds something else.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FlowError(f"{path.name} is no file of flow ({', '.join(SUFFIXES)}).")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FlowError(f"{path} cannot be read: {error.strerror}.") from None
    flow = np.ascontiguousarray(reader(path, content), np.float32)
    with np.errstate(invalid="ignore"):
        unknown = ~(np.abs(flow) <= FLO_UNKNOWN).all(-1)
    if unknown.any():
        flow = flow.copy()
        flow[unknown] = np.nan
    return flow


def write_flow(path: Path, flow: np.ndarray) -> None:
    """Write a flow [H, W, 2] to a file of the format that its suffix names; unknown pixels (not finite) stay unknown.

    ``.flo``, ``.pfm``, ``.npy`` and ``.npz`` keep float32 exactly; a KITTI picture keeps 1/64 px between -512 and 512 px, and a
    flow that goes further is refused.
    """
    path = Path(path)
    flow = np.asarray(flow, np.float32)
    if flow.ndim != 3 or flow.shape[2] != 2 or not flow.size:
        raise FlowError(f"{path.name}: a flow has two values for each pixel, not the shape {flow.shape}.")
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise FlowError(f"{path.name}: a flow is saved as one of {', '.join(SUFFIXES)}; choose such a name.")
    content = writer(path, np.where(np.isfinite(flow).all(-1, keepdims=True), flow, np.float32(np.nan)))
    with replacing(path) as temporary:
        temporary.write_bytes(content)


# ---- .flo ----------------------------------------------------------------------------------------------------------


def _read_flo(path: Path, content: bytes) -> np.ndarray:
    if len(content) < 12 or np.frombuffer(content, "<f4", 1)[0] != np.float32(FLO_MAGIC):
        raise FlowError(f"{path.name} is no .flo file: it does not begin with {FLO_MAGIC}.")
    width, height = (int(v) for v in np.frombuffer(content, "<i4", 2, 4))
    _check_size(path, width, height, 8, len(content) - 12)
    return np.frombuffer(content, "<f4", width * height * 2, 12).reshape(height, width, 2)


def _write_flo(path: Path, flow: np.ndarray) -> bytes:
    height, width = flow.shape[:2]
    head = np.array([FLO_MAGIC], "<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    return head + np.where(np.isnan(flow), np.float32(1e10), flow).astype("<f4").tobytes()


def _check_size(path: Path, width: int, height: int, each: int, there: int) -> None:
    if width < 1 or height < 1 or width * height > _MOST_PIXELS:
        raise FlowError(f"{path.name} is damaged: it declares {width} x {height} pixels.")
    if there < width * height * each:
        raise FlowError(f"{path.name} is cut off: {width} x {height} pixels do not fit into its {there:,} bytes.")


# ---- .pfm ----------------------------------------------------------------------------------------------------------


def _read_pfm(path: Path, content: bytes) -> np.ndarray:
    lines = content[:200].split(b"\n", 3)
    try:
        kind, size, scale = lines[0].strip(), lines[1].split(), float(lines[2])
        width, height = int(size[0]), int(size[1])
    except (IndexError, ValueError):
        raise FlowError(f"{path.name} is no .pfm file: its head cannot be read.") from None
    if kind != b"PF":
        raise FlowError(f"{path.name} holds one value for each pixel; a flow is a colour .pfm (PF).")
    start = sum(len(line) + 1 for line in lines[:3])
    _check_size(path, width, height, 12, len(content) - start)
    values = np.frombuffer(content, "<f4" if scale < 0 else ">f4", width * height * 3, start)
    return values.reshape(height, width, 3)[::-1, :, :2]


def _write_pfm(path: Path, flow: np.ndarray) -> bytes:
    height, width = flow.shape[:2]
    whole = np.concatenate([flow, np.zeros_like(flow[..., :1])], 2)[::-1]
    return f"PF\n{width} {height}\n-1.0\n".encode() + whole.astype("<f4").tobytes()


# ---- KITTI ---------------------------------------------------------------------------------------------------------


def _read_kitti(path: Path, content: bytes) -> np.ndarray:
    import cv2

    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    if image is None:
        raise FlowError(f"{path.name} is damaged: it cannot be read as a picture.")
    if image.dtype != np.uint16 or image.ndim != 3 or image.shape[2] != 3:
        raise FlowError(f"{path.name} is no flow of KITTI, which is a PNG with three channels of 16 bit.")
    flow = (image[..., :0:-1].astype(np.float32) - 32768) / 64  # OpenCV gives blue, green, red
    flow[image[..., 0] == 0] = np.nan
    return flow


def _write_kitti(path: Path, flow: np.ndarray) -> bytes:
    import cv2

    known = ~np.isnan(flow[..., 0])
    low, high = _KITTI_LIMITS
    if known.any() and not (flow[known].min() >= low and flow[known].max() <= high):
        raise FlowError(
            f"{path.name}: a KITTI picture holds flow from -512 to 512 px, and this one reaches "
            f"{np.abs(flow[known]).max():.0f} px; save it as .flo."
        )
    values = np.zeros((*flow.shape[:2], 3), np.uint16)
    values[known, 2], values[known, 1] = np.rint(flow[known].T.astype(np.float64) * 64 + 32768).astype(np.uint16)
    values[known, 0] = 1
    done, content = cv2.imencode(".png", values)
    assert done
    return bytes(content)


# ---- numpy ---------------------------------------------------------------------------------------------------------


def _read_numpy(path: Path, content: bytes) -> np.ndarray:
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            names = found.files
            name = "flow" if "flow" in names else names[0] if len(names) == 1 else None
            if name is None:
                raise FlowError(f"{path.name} holds {len(names)} arrays and none is called 'flow'.")
            found = found[name]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise FlowError(f"{path.name} cannot be read as an array ({str(error).splitlines()[0][:80]}).") from None
    if found.dtype.kind not in "fiu":
        raise FlowError(f"{path.name} holds no numbers.")
    if found.ndim == 4 and len(found) == 1:
        found = found[0]
    if found.ndim == 3 and found.shape[2] != 2 and found.shape[0] == 2:
        found = found.transpose(1, 2, 0)
    if found.ndim != 3 or found.shape[2] != 2 or not found.size:
        raise FlowError(f"{path.name} holds an array of shape {found.shape}; a flow has height, width and two values.")
    return found


def _write_npy(path: Path, flow: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, flow, allow_pickle=False)
    return buffer.getvalue()


def _write_npz(path: Path, flow: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, flow=flow)
    return buffer.getvalue()


_READERS = {".flo": _read_flo, ".png": _read_kitti, ".pfm": _read_pfm, ".npy": _read_numpy, ".npz": _read_numpy}
_WRITERS = {".flo": _write_flo, ".png": _write_kitti, ".pfm": _write_pfm, ".npy": _write_npy, ".npz": _write_npz}
