"""Fixtures of the tests of the engine."""

from .toy_method import toy

__all__ = ["toy"]
