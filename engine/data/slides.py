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
ZARR_ENDS = (".zarr", ".zarr.zip", ".ozx")
"""How names of OME-Zarr folders and zips end."""
# Pixels; a slide of 75 mm at 0.1 µm per pixel has 750,000.
_LARGEST_SIDE = 1 << 23


def is_slide(path: Path | str) -> bool:
    """Whether the name of `path` looks like something that `open_slide` opens; also of a folder or zip with an OME-Zarr."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES or path.name.lower().endswith(ZARR_ENDS)


def open_slide(path: Path | str, mpp: float | None = None) -> Slide:
    """Open a slide or a picture.

    Every tiled TIFF goes to our own tile reader, OME-Zarr to zarr, other slide formats to OpenSlide, pictures to Pillow.

    Parameters
    ----------
    path : the file; for OME-Zarr and DICOM the folder (of DICOM any file in it will do).
    mpp : µm per level-0 pixel that the user has set; it goes before what the file says.

    Returns
    -------
    A slide whose `display` is what the file says: what a viewer shows elsewhere does not change what is read here.

    Raises
    ------
    SlideError : one sentence with the file, the reason and the way out.
    """
    path = Path(path)
    try:
        slide = _open_folder(path) if path.is_dir() else _open(path, _first_bytes(path))
    except OSError as error:
        raise SlideError(
            f"{path} cannot be opened: {error.strerror or error}. Check its permissions and its disk."
        ) from error
    except MemoryError as error:
        raise SlideError(
            f"{path.name} does not fit into the free memory: close other programs, or copy it again if it is damaged."
        ) from error
    if max(slide.width, slide.height) > _LARGEST_SIDE:
        slide.close()
        raise SlideError(
            f"{path.name} says that it is {slide.width:,} x {slide.height:,} pixels large, which no slide is: it is damaged; "
            "copy it again from where it came from."
        )
    if mpp is not None:
        slide._set_mpp(mpp, "set by you")
    return slide


def _open_folder(path: Path) -> Slide:
    from .dicom import dicom_files, series_of
    from .zarr_slide import ZarrSlide, is_zarr

    if is_zarr(path):
        return ZarrSlide(path)
    if (path / "Slidedat.ini").is_file():
        raise SlideError(f"{path.name} is the folder of a MIRAX slide: choose {path.name}.mrxs beside it.")
    found = series_of(dicom_files(path))
    if len(found) == 1:
        from .openslide_slide import OpenSlideSlide

        reasons: list[str] = []
        slide = OpenSlideSlide.try_open(path, reasons, next(iter(found.values()))[0].path)
        if slide is not None:
            return slide
        raise SlideError(f"{path.name} is no DICOM slide that can be read ({reasons[0]}): copy all its files again.")
    if found:
        raise SlideError(f"{path.name} holds {len(found)} DICOM slides: choose a file of the one to open.")
    raise SlideError(f"{path.name} is a folder, not a slide: choose a file inside it.")


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            magic = file.read(16)
    except FileNotFoundError:
        raise SlideError(f"{path} does not exist: it was moved, renamed or its disk is not connected.") from None
    if not magic:
        raise SlideError(f"{path.name} is empty (0 bytes): copy it again from where it came from.")
    return magic


def _open(path: Path, magic: bytes) -> Slide:
    reasons: list[str] = []
    suffix = path.suffix.lower()
    if magic[:4] == b"PK\3\4" and path.name.lower().endswith(ZARR_ENDS):
        from .zarr_slide import ZarrSlide

        return ZarrSlide(path)
    if magic[:4] in TIFF_MAGIC and suffix not in OPENSLIDE_SUFFIXES:
        from .tiff_levels import NotOurs
        from .tiled_tiff import TiledTiffSlide

        try:
            return TiledTiffSlide(path)
        except NotOurs as error:
            reasons.append(str(error))
        from .channel_picture import ChannelPicture

        deep = ChannelPicture.try_open(path, reasons)
        if deep is not None:
            return deep
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
