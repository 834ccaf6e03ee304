"""Benchmarks: speed and memory against strangers in one interleaved run, live speech, and a soak of it."""
