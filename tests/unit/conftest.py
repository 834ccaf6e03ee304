"""What tests of parts share. Runs on the target as well (whisperd-ptest), so it needs nothing but pytest."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
"""The user and group without rights, of Linux's own numbering."""


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder for tests of what is not allowed. Where they run as root, root is nobody meanwhile."""
    with tempfile.TemporaryDirectory(prefix="whisperd-") as name:
        if os.geteuid() != 0:
            yield Path(name)
            return
        group, groups = os.getegid(), os.getgroups()
        os.chown(name, NOBODY, NOBODY)
        os.setgroups([])
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)
            os.setegid(group)
            os.setgroups(groups)
