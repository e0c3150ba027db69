"""Augmentation of training crops, in the published order and with the published limits.

Everything is drawn from one `numpy.random.Generator`, so the same generator state gives the same crop. The
limits of the colour steps are the defaults of the augmentation library that was used; all in 8 bit.
"""

from __future__ import annotations

import cv2
import numpy as np

GREY = (0.299, 0.587, 0.114)
SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def window_in(rng: np.random.Generator, width: int, height: int, tile: int, smallest: int) -> tuple[int, int, int]:
    """Choose where to cut: a random `tile` x `tile` crop, in it a random square of side `smallest`..`tile`.

    Parameters
    ----------
    width, height : size in px of the training tile, at least `tile` each (so nothing is ever padded here).
    smallest : least side; `tile` itself for "no change of scale".

    Returns
    -------
    (x, y, side) in px of the training tile.
    """
    left = int(rng.integers(0, width - tile + 1))
    top = int(rng.integers(0, height - tile + 1))
    side = int(rng.integers(smallest, tile + 1))
    x, y = rng.random(2)
    return left + int((tile - side) * x), top + int((tile - side) * y), side


def resized(image: np.ndarray, target: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Resize to `side` x `side`: the image bilinear, the target nearest."""
    if image.shape[:2] != (side, side):
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
        target = cv2.resize(target, (side, side), interpolation=cv2.INTER_NEAREST)
    return image, target


def turned(rng: np.random.Generator, image: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertical flip 0.5, a quarter turn (0 to 3 times) 0.5, horizontal flip 0.5."""
    vertical, turn, horizontal = rng.random(3) < 0.5
    quarters = int(rng.integers(0, 4))
    if vertical:
        image, target = image[::-1], target[::-1]
    if turn:
        image, target = np.rot90(image, quarters), np.rot90(target, quarters)
    if horizontal:
        image, target = image[:, ::-1], target[:, ::-1]
    return image, target


def recoloured(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Change brightness, contrast, sharpness and colours of a uint8 RGB picture [h, w, 3]."""
    image = np.ascontiguousarray(image)
    if rng.random() < 0.8:  # brightness and contrast, ±0.2 each
        gain, shift = 1 + rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)
        image = _lut(image, np.arange(256) * gain + shift * 255)
    if rng.random() < 0.8:  # sharpen
        alpha, lightness = rng.uniform(0.2, 0.5), rng.uniform(0.5, 1.0)
        kernel = np.full((3, 3), -alpha, np.float32)
        kernel[1, 1] = 1 - alpha + alpha * (8 + lightness)
        image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    if rng.random() < 0.5:  # hue (of 180), saturation, value
        hue, saturation, value = rng.uniform(-20, 20), rng.uniform(-30, 30), rng.uniform(-20, 20)
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        ramp = np.arange(256)
        table = np.stack(
            [np.mod(ramp + hue, 180), np.clip(ramp + saturation, 0, 255), np.clip(ramp + value, 0, 255)],
            axis=-1,
        )
        image = cv2.cvtColor(cv2.LUT(hsv, table.astype(np.uint8)[None]), cv2.COLOR_HSV2RGB)
    if rng.random() < 0.5:  # each channel
        shifts = rng.uniform(-20, 20, 3)
        image = _lut(image, np.arange(256)[:, None] + shifts)
    factors = rng.uniform(0.6, 1.4, 3)
    for kind in rng.permutation(3):
        image = (brightness, contrast, sharpness)[kind](image, factors[kind])
    return image


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with black: 0 black, 1 unchanged."""
    return _lut(image, np.arange(256) * factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the mean grey: 0 grey, 1 unchanged."""
    mean = int(np.asarray(cv2.mean(image)[:3]) @ GREY + 0.5)
    return _lut(image, mean + (np.arange(256) - mean) * factor)


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the smoothed picture: 0 smooth, 1 unchanged, above 1 sharper."""
    smooth = cv2.filter2D(image, -1, SMOOTH, borderType=cv2.BORDER_REPLICATE)
    return cv2.addWeighted(image, factor, smooth, 1 - factor, 0)


def augment(
    rng: np.random.Generator, image: np.ndarray, target: np.ndarray, side: int, *, colour: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a cut window into a training example.

    Parameters
    ----------
    image : uint8 [h, w, 3]; target : float32 [h, w] in [0, 1], below 0 where a pixel does not count.
    side : side of the network's input in px.
    colour : False for geometry only.

    Returns
    -------
    image float32 [3, side, side] in [0, 1], target float32 [side, side].
    """
    image, target = resized(image, target, side)
    image, target = turned(rng, image, target)
    if colour:
        image = recoloured(rng, image)
    picture = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    picture /= 255
    return picture, np.ascontiguousarray(target)


def _lut(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Map 8-bit values through `table` ([256] or [256, 3]), rounded and limited to 0..255."""
    table = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table if table.ndim == 1 else table[None])
