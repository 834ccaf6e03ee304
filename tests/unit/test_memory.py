"""Freed memory stays with the process while there is work, and goes back to the system when it is told to."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import numpy as np
from whisperd import memory
assert memory.tune(), "not glibc"
memory.trim()
before = memory.resident_bytes()
# 24 MB in blocks that glibc would map one by one, and unmap as soon as they are free.
blocks = [np.ones(1 << 20, np.float64) for _ in range(3)]
held = memory.resident_bytes()
del blocks
kept = memory.resident_bytes()
again = [np.ones(1 << 20, np.float64) for _ in range(3)]
reused = memory.resident_bytes()
del again
memory.trim()
print(*(number - before for number in (held, kept, reused, memory.resident_bytes())))
"""


def test_freed_memory_is_kept_used_again_and_given_back_on_demand() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    held, kept, reused, trimmed = (int(number) for number in result.stdout.split())
    size = 24 << 20
    assert held >= size
    assert kept >= size, "given back at once"
    assert reused < held + (1 << 20), "the freed blocks were not used again"
    assert trimmed < size / 8, "not given back"
