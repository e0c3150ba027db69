"""Opening slides: which files are slides, which reader opens one (`slide.py` says what a slide is)."""

from __future__ import annotations

from pathlib import Path

from ..errors import SlideError
from .channels import Channel
from .fingerprints import TIFF_MAGIC, file_fingerprint, sampled_fingerprint
from .slide import Level, Slide, mpp_of_resolution

__all__ = [
    "PICTURE_SUFFIXES",
    "SUFFIXES",
    "Channel",
    "Level",
    "Slide",
    "file_fingerprint",
    "is_slide",
    "mpp_of_resolution",
    "open_slide",
    "sampled_fingerprint",
]

TIFF_SUFFIXES = (".svs", ".tif", ".tiff", ".btf", ".tf8", ".qptiff")
OPENSLIDE_SUFFIXES = (".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".dcm", ".czi", ".svslide")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SUFFIXES = TIFF_SUFFIXES + OPENSLIDE_SUFFIXES + PICTURE_SUFFIXES
"""Suffixes (lower case) of the files that `open_slide` may open."""


def is_slide(path: Path | str) -> bool:
    """Whether the name of `path` looks like something that `open_slide` opens."""
    return Path(path).suffix.lower() in SUFFIXES


def open_slide(path: Path | str, mpp: float | None = None) -> Slide:
    """Open a slide or a picture.

    Every tiled TIFF goes to our own tile reader, other slide formats to OpenSlide, pictures to Pillow.

    Parameters
    ----------
    path : the file.
    mpp : µm per level-0 pixel that the user has set; it goes before what the file says.

    Raises
    ------
    SlideError : one sentence with the file, the reason and the way out.
    """
    path = Path(path)
    magic = _first_bytes(path)
    slide = _open(path, magic)
    if mpp is not None:
        slide._set_mpp(mpp, "set by you")
    return slide


def _first_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise SlideError(f"{path.name} is a folder, not a slide: choose a file inside it.")
        with path.open("rb") as file:
            magic = file.read(16)
    except FileNotFoundError:
        raise SlideError(f"{path} does not exist: it was moved, renamed or its disk is not connected.") from None
    except OSError as error:
        raise SlideError(
            f"{path} cannot be opened: {error.strerror or error}. Check its permissions and its disk."
        ) from error
    if not magic:
        raise SlideError(f"{path.name} is empty (0 bytes): copy it again from where it came from.")
    return magic


def _open(path: Path, magic: bytes) -> Slide:
    reasons: list[str] = []
    suffix = path.suffix.lower()
    if magic[:4] in TIFF_MAGIC and suffix not in OPENSLIDE_SUFFIXES:
        from .tiff_levels import NotOurs
        from .tiled_tiff import TiledTiffSlide

        try:
            return TiledTiffSlide(path)
        except NotOurs as error:
            reasons.append(str(error))
    if suffix not in PICTURE_SUFFIXES:
        from .openslide_slide import OpenSlideSlide

        slide = OpenSlideSlide.try_open(path, reasons)
        if slide is not None:
            return slide
    from .picture import PictureSlide

    picture = PictureSlide.try_open(path, reasons)
    if picture is not None:
        return picture
    if magic[:4] in TIFF_MAGIC:
        raise SlideError(
            f"{path.name} is a TIFF that cannot be read ({'; '.join(reasons)}): copy it again from where it came from, or "
            "export it as a tiled pyramidal TIFF."
        )
    raise SlideError(
        f"{path.name} is no slide or picture that Opsin knows, or it is damaged ({'; '.join(reasons)}): copy it again from "
        "where it came from, or export it as .svs, pyramidal .tif or .png."
    )
