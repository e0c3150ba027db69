"""Measures that two or more methods share; numpy only, tested against scikit-learn."""
