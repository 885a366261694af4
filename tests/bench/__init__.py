"""Benchmarks: speed against peers, quality, start, re-runs and scale; see the docstring of each module."""
