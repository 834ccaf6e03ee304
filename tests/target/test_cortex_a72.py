"""The daemon on a Raspberry Pi 4's instructions, with the image's ONNX Runtime: no SIGILL, and the PC's words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import rootfs
from daemon_process import DaemonProcess
from emulated import FOLDER, MODEL, PACKAGES, REQUIREMENTS, TOOLS, Emulated
from speech import COMMITTED, words
from whisperd.audio.files import read_audio

CLIP = COMMITTED[1]
HWCAP_BITS = "import ctypes; print(ctypes.CDLL(None).getauxval(16))"
ASIMDDP, ASIMDHP = 1 << 20, 1 << 10
"""Dot product and half precision, of Linux's hwcap.h: what the Cortex-A72 lacks."""


@pytest.fixture(scope="module")
def pi(tiny_en: Path, vad: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    rootfs.require(FOLDER, *TOOLS)
    lines = REQUIREMENTS.read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    site = rootfs.wheels("arm64", wanted, ["sdnotify==0.3.2"], alone=True)
    root = tmp_path_factory.mktemp("target") / "root"
    try:
        rootfs.copy_tree(rootfs.debian("arm64", PACKAGES, extract_only=True), root)
        yield Emulated(root, tiny_en, vad, site)
    finally:
        rootfs.remove_tree(root)


def test_the_emulated_cpu_is_no_newer_than_the_real_one(pi: Emulated) -> None:
    bits = int(pi.run("-c", HWCAP_BITS))
    assert bits & (ASIMDDP | ASIMDHP) == 0
    # And the question is a real one.
    assert int(pi.run("-c", HWCAP_BITS, cpu="max")) & ASIMDDP


def test_check(pi: Emulated) -> None:
    said = pi.run("-m", "whisperd", "--check", "--model", MODEL)
    assert "configuration: good" in said and "model: good (tiny.en, int8" in said
    assert "voice activity detector: good" in said


def test_the_versions(pi: Emulated) -> None:
    said = pi.run("-c", "import onnxruntime, numpy, platform; print(onnxruntime.__version__, platform.machine())")
    assert said.split()[-2:] == ["1.23.2", "aarch64"]


def test_the_same_words_as_on_the_pc(pi: Emulated, tiny_en: Path, tmp_path: Path) -> None:
    pcm = read_audio(CLIP.path, 60)
    with DaemonProcess(tiny_en, tmp_path) as daemon, daemon.client() as client:
        here = client.transcribe(pcm).text
    with pi.daemon() as client:
        there = client.transcribe(pcm).text
    assert there == here
    assert words(there) == words(CLIP.text)
