"""Files of the field in and out: slides, pictures, TIFF pyramids.

`slides.py` says what a slide is and opens one (`open_slide`); `tiled_tiff.py` (with `tiff_levels.py` for the structure and
`tiff_codecs.py` for the tiles), `openslide_slide.py` and `picture.py` are the three readers behind it; `tiff.py` writes pyramids
and heat maps. Called by the views, the methods and the command line; everything works in level-0 pixels, x right, y down, and
gives uint8 RGB arrays ``[row, column, 3]``.
"""

import logging

# What tifffile finds wrong in a damaged file is told in our own words; its lines would otherwise stand raw on the console.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
