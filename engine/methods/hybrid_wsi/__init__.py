"""Hybrid supervision for whole slides (MICCAI 2021): a few outlines, many slide labels, one method."""
