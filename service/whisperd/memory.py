"""How the C library hands memory out: tuned once for the whole process, before there are threads.

glibc gives each thread an arena of its own. The model's threads allocate tensors of megabytes in turns, and what
one arena has freed another cannot use: over 30 s windows that costs tens of megabytes.

And it gives freed memory back at once, so that the next tensor is made of new pages, each of which the kernel
clears first: that is a tenth of the encoder's time over 3.5 s and a sixth over 11 s. Here it is kept until
nothing is to be done, and `trim` gives it back.
"""

from __future__ import annotations

import ctypes
import os

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

#: Smaller blocks come of the heap, and are used again. The most that glibc takes; no tensor of `small` is larger.
_HEAP_BLOCK_BYTES = 32 << 20
#: Freed memory at the heap's end that is kept: over 30 s base needs 250 MB while it encodes.
_KEPT_BYTES = 256 << 20


def tune() -> bool:
    """One arena for all threads, which keeps what is freed; returns whether the C library knows how."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    wishes = {_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: _HEAP_BLOCK_BYTES, _M_TRIM_THRESHOLD: _KEPT_BYTES}
    granted = [mallopt(name, value) for name, value in wishes.items()]
    return all(granted)


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
