"""Geometry that methods share: poses of two views and their epipolar geometry, models of structure from motion, homographies.

numpy only. Points are (x, y) in pixels, x right, y down, the centre of the first pixel at (0, 0) unless a name says otherwise.
"""
