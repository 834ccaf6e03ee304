"""What tests share: import paths, bundles of real models, and a real daemon."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Tests import the tools that are no distribution (scripts/convert_model) and each other's helpers.
for folder in (ROOT / "scripts", ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
