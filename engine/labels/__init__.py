"""Pixel labels of gigapixel slides: a store that survives `kill -9`, and annotation formats in and out.

`store.py` keeps the labels of one slide (operations as vectors, tiles derived), `journal.py` what an operation is,
`raster.py` the one rule that turns shapes into pixels, `classes.py` the list of classes. `asap.py`, `geojson.py`, `trace.py`
and `exchange.py` bring outlines in and out. Called by the slide view, the workspace and the methods.
"""
