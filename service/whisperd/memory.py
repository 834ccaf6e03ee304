"""How the C library hands memory out: tuned once for the whole process, before there are threads.

glibc gives each thread an arena of its own. The model's threads allocate tensors of megabytes in turns, and what
one arena has freed another cannot use: over 30 s windows that costs tens of megabytes.
"""

from __future__ import annotations

import ctypes
import os

_M_ARENA_MAX = -8  # malloc.h


def use_one_arena() -> bool:
    """Make all threads share one arena; returns whether the C library is one that knows how (glibc)."""
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1))
    except AttributeError:
        return False


def trim() -> bool:
    """Give freed memory back to the system; returns whether there was any."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except AttributeError:
        return False


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the kernel does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
