"""Measurements, each beside its peer in the same run. `python -m tests.benchmarks bench|proof|gpu` rewrites RESULTS.md.

Every `bench_*.py` has `rows(quick) -> list[dict]` with name, value, unit, bar (text), ok (True, False, None) and note;
`proof_*.py` have the same for the small-scale proofs of the methods. Nothing here is an absolute limit inside a test.
"""
