"""What is said of classes: how much they cover, what their removal leads to."""

from __future__ import annotations

from ..engine.class_table import Usage


def removal_text(usage: Usage | None) -> str:
    """Return what the removal of a class leads to: where it was painted, and what becomes of that."""
    back = "+ above the class table brings the class back."
    if usage is not None and not usage.slides:
        return f"No slide carries it. {back}"
    if usage is None:
        where = "What is painted with it"
    else:
        slides = "1 slide" if usage.slides == 1 else f"{usage.slides} slides"
        size = f"{usage.area:,.2f} mm²" if usage.area and usage.area >= 0.01 else f"{usage.pixels:,} pixels"
        where = f"It covers {size} on {slides}. That"
    return f"{where} stays in the label files: shown in grey and left out of training until it is erased. {back}"


def area_text(pixels: float, mpp: float | None) -> str:
    """Return an area in words: mm² where the resolution is known, else megapixels."""
    if not pixels:
        return ""
    if mpp:
        area = pixels * mpp * mpp / 1e6
        return f"{area:.2f} mm²" if area >= 0.01 else f"{area * 1e6:,.0f} µm²"
    return f"{pixels / 1e6:.2f} Mpx" if pixels >= 10_000 else f"{pixels:,.0f} px"
