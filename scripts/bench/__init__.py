"""Benchmarks: speed and memory against strangers, in one interleaved run."""
