"""What OME-XML says of an image: its scale, its objective and its channels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.etree import ElementTree

from .channels import color_of_number


def ome_scale(xml: str, width: int, height: int) -> tuple[float | None, float | None]:
    """µm per pixel and magnification of one image of OME-XML, None = unknown.

    Parameters
    ----------
    width, height : size of the image that is read; a file may hold others (macro, label) with another scale. Where several
        have this size the first one counts, as in `ome_levels`.
    """
    for root, image, pixels in _images(xml, width, height):
        return _pixel_size(pixels), _magnification(root, image)
    return None, None


def ome_channels(xml: str, width: int, height: int) -> tuple[list[str | None], list[str | None]]:
    """Names and colours ("#rrggbb") of the channels of one image of OME-XML, None where it has none; see `ome_scale`."""
    names: list[str | None] = []
    colors: list[str | None] = []
    for _, _, pixels in _images(xml, width, height):
        for channel in (child for child in pixels if _tag(child) == "Channel"):
            color = channel.get("Color")
            names.append(channel.get("Name") or channel.get("Fluor"))
            # -1 is white, what writers put in who know no colour
            known = color is not None and color.lstrip("-").isdigit() and int(color) & 0xFFFFFFFF != 0xFFFFFFFF
            colors.append(color_of_number(int(color)) if known and color else None)
    return names, colors


def _images(
    xml: str, width: int, height: int
) -> Iterator[tuple[ElementTree.Element, ElementTree.Element, ElementTree.Element]]:
    """At most one (root, Image, Pixels): the first of this size; else the only image (some writers give another level's)."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return
    images = [(image, _child(image, "Pixels")) for image in root if _tag(image) == "Image"]
    found = [
        (image, pixels)
        for image, pixels in images
        if pixels is not None and (pixels.get("SizeX"), pixels.get("SizeY")) == (str(width), str(height))
    ]
    for image, pixels in found[:1] or images[: len(images) == 1]:
        if pixels is not None:
            yield root, image, pixels


def _pixel_size(pixels: ElementTree.Element) -> float | None:
    micrometres = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4}
    sizes = [
        size * micrometres[unit]
        for axis in "XY"
        if (size := positive_number(pixels.get(f"PhysicalSize{axis}"))) is not None
        and (unit := pixels.get(f"PhysicalSize{axis}Unit", "µm")) in micrometres
    ]
    return sum(sizes) / len(sizes) if sizes else None


def _magnification(root: ElementTree.Element, image: ElementTree.Element) -> float | None:
    """Magnification of the objective that the image names; where it names none, of the only one there is."""
    objectives = [element for element in root.iter() if _tag(element) == "Objective"]
    settings = _child(image, "ObjectiveSettings")
    if settings is not None:
        objectives = [element for element in objectives if element.get("ID") == settings.get("ID")]
    found = {positive_number(element.get("NominalMagnification")) for element in objectives} - {None}
    return found.pop() if len(found) == 1 else None


def _child(element: ElementTree.Element, tag: str) -> ElementTree.Element | None:
    return next((child for child in element if _tag(child) == tag), None)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def positive_number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value and math.isfinite(value) and value > 0 else None
