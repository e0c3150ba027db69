"""Opsin: look, annotate, train, predict and correct in one window."""

__version__ = "0.1.0"
