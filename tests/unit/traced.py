"""Memory that some code holds, whatever else goes on in the process of the tests."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

DEEP = 8
"""Frames of a traceback: from numpy's innermost function out to the code that called it."""


@contextmanager
def tracing(*modules: ModuleType) -> Iterator[Callable[[], int]]:
    """Gives what tells the bytes that these modules' code has allocated since, and that are in use. What another
    thread allocates, such as one that an earlier test has left behind, is not counted.
    """
    own = [tracemalloc.Filter(True, str(module.__file__), all_frames=True) for module in modules]

    def held() -> int:
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(own).traces)

    tracemalloc.start(DEEP)
    try:
        yield held
    finally:
        tracemalloc.stop()
