"""What tests share: import paths, bundles of real models, and real daemons."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Tests import the tools that are no distribution (scripts/convert_model) and each other's helpers.
for folder in (ROOT / "scripts", ROOT / "tests"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import rootfs  # noqa: E402
from daemon_process import CACHE, VAD, DaemonProcess  # noqa: E402


def bundle_folder(name: str) -> Path:
    """A bundle of a real model, which scripts/test has made."""
    folder = Path(os.environ.get("WHISPER_BUNDLES") or CACHE / "models") / name
    if not (folder / "manifest.json").is_file():
        pytest.fail(f"no bundle {folder}: run scripts/test, which fetches and converts the weights", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def base() -> Path:
    """Whisper base, int8: what the image ships."""
    return bundle_folder("base")


@pytest.fixture(scope="session")
def base_fp32() -> Path:
    """The same weights in float32."""
    return bundle_folder("base-fp32")


@pytest.fixture(scope="session")
def tiny_en() -> Path:
    """Whisper tiny.en, int8: English only, and quick."""
    return bundle_folder("tiny.en")


@pytest.fixture(scope="session")
def vad() -> Path:
    """Silero VAD."""
    if not VAD.is_file():
        pytest.fail(f"no voice activity detector {VAD}: run scripts/test, which fetches it", pytrace=False)
    return VAD


@pytest.fixture(scope="module")
def daemon(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A running whisperd with base. A test that breaks it makes its own."""
    with DaemonProcess(base, tmp_path_factory.mktemp("daemon")) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A whole folder of tests that was skipped is no small print."""
    for folder, reason in rootfs.NOT_RUN.items():
        terminalreporter.section(f"NOT RUN: {folder}", sep="!", red=True, bold=True)
        terminalreporter.line(reason)
