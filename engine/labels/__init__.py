"""Pixel labels of gigapixel slides: a store that survives `kill -9`, and annotation formats in and out.

`store.py` keeps the labels of one slide (operations as vectors, tiles derived): `journal.py` says what an operation is,
`marks.py` what is drawn beside the pixels (markers, rulers, areas, regions of interest), `roi.py` where pixels count,
`writer.py` is the thread that saves and applies them, `lock.py` lets one process write, `raster.py` is the one rule that
turns shapes into pixels, `pen.py` widens strokes by pressure, `similar.py` is the wand. `runs.py` and `regions.py` hold
connected regions and grow, shrink and fill them; `content.py` sums a store up. `classes.py` is the list of classes. The
other files bring annotations in and out: `shapes.py` (an outline), `frame.py` (where coordinates begin), `formats.py` (what
is written, and how), `exchange.py` (what is read, told apart by what it holds, and painted), a file for each format
(`geojson.py`, `asap.py`, `coco.py`, `ngff.py`, `mask_tiff.py`), `pixels.py` and `trace.py` (from pixels to outlines),
`mark_outlines.py`, `mapping.py` (what the classes of a file become), `layers.py` (in which order they are painted).
Called by the slide view, the workspace and the methods.
"""
