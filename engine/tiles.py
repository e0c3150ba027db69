"""TilePyramid: a sparse pyramid of 512 x 512 uint8 tiles in one SQLite file.

Labels (`labels/store.py`) and heat maps (`results.Heatmap`) are kept in it: absent tiles are all zero, uniform tiles
take one byte, the others zstd. Pyramid level k holds every 2**k-th pixel of level 0 in each direction.
"""
