"""Metrics that methods share; numpy only, tested against scikit-learn."""
