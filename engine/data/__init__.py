"""Files of the field in and out: slides, pictures, TIFF pyramids.

`slides.py` opens one (`open_slide`), `slide.py` says what a slide is, `channels.py` how fluorescence is shown, `sets.py` which files
make one slide together. The readers: `tiled_tiff.py` (with `tiff_levels.py` for the structure, `tiff_codecs.py` for the tiles,
`tile_cache.py`, `ome.py`), `zarr_slide.py`, `openslide_slide.py` (behind `openslide_guard.py`), `picture.py` and
`channel_picture.py` for what has no tiles. `tiff.py` writes pyramids and heat maps. Called by the views, the methods and the
command line; everything works in level-0 pixels, x right, y down, and gives uint8 RGB arrays ``[row, column, 3]``.
"""

import logging

# What these find wrong in a damaged file is told in our own words; their lines would otherwise stand raw on the console.
for _name in ("tifffile", "PIL"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
