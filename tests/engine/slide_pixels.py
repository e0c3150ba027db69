"""Pictures that the tests of slides share, and what OpenSlide reads."""

from pathlib import Path

import cv2
import numpy as np
import openslide
from PIL import Image


def smooth(width: int, height: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """A picture with structure at all scales that JPEG can hold well: uint8 [height, width, channels]."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 24 + 3, width // 24 + 3, channels)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def by_openslide(path: Path, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
    """RGB of a rectangle in pixels of the level, transparent parts on white."""
    with openslide.OpenSlide(str(path)) as slide:
        corner = (round(x * slide.level_downsamples[level]), round(y * slide.level_downsamples[level]))
        region = slide.read_region(corner, level, (width, height))
    white = Image.new("RGBA", region.size, "white")
    return np.asarray(Image.alpha_composite(white, region).convert("RGB"))


def one_sentence(error, name: str) -> str:
    """Text of a SlideError that pytest caught: one sentence that names the file."""
    text = str(error.value)
    assert name in text and text.endswith(".") and "\n" not in text and "Traceback" not in text
    return text
