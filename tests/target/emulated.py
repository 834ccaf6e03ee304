"""A Raspberry Pi 4 as programs see it: its CPU's instructions, by qemu, and its files about the CPU.

A user-mode emulator in a chroot: no kernel is booted and no handler is registered on the host. What Cortex-A72
does not have ends in SIGILL, as there.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import rootfs
from whisperd.client import Client

FOLDER = "tests/target"
TOOLS = ("mmdebstrap", "qemu-aarch64-static", "chroot")
PACKAGES = ("python3", "libstdc++6")
CORES = 4
SITE = "/opt/site"
MODEL = "/opt/model"
SOCKET = "/tmp/whisperd.sock"

START_SECONDS = 420.0
"""Emulated, and on a busy PC: importing takes ten seconds and loading twenty where nothing else runs."""

REQUIREMENTS = Path(__file__).with_name("requirements.txt")

CPU = """\
processor\t: {core}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""

BOARD = """\
Hardware\t: BCM2835
Revision\t: c03114
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""


class Emulated:
    """A root file system with the daemon in it, and qemu to run it.

    Args:
        root: an aarch64 root file system, which is changed.
        bundle: the model to serve.
        vad: the voice activity detector.
        site: wheels of the daemon's dependencies.
    """

    def __init__(self, root: Path, bundle: Path, vad: Path, site: Path) -> None:
        self.root = root
        found = shutil.which("qemu-aarch64-static")
        assert found, "qemu-aarch64-static was there a moment ago"
        shutil.copy(found, root / "qemu")
        cpu = "".join(CPU.format(core=core) for core in range(CORES)) + BOARD
        self._write("proc/cpuinfo", cpu)
        for name in ("possible", "present", "online"):
            self._write(f"sys/devices/system/cpu/{name}", f"0-{CORES - 1}\n")
        for wheel in site.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(root / SITE.lstrip("/"))
        package = root / SITE.lstrip("/") / "whisperd"
        shutil.copytree(rootfs.ROOT / "service/whisperd", package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(bundle, root / MODEL.lstrip("/"))
        (root / "usr/share/whisper/vad").mkdir(parents=True)
        shutil.copy(vad, root / "usr/share/whisper/vad")

    @property
    def socket(self) -> Path:
        """The daemon's socket, seen from the host."""
        return self.root / SOCKET.lstrip("/")

    def start(self, *arguments: str, cpu: str = "cortex-a72") -> subprocess.Popen[str]:
        """Start the machine's Python."""
        emulator = ["chroot", str(self.root), "/qemu", "-cpu", cpu, "/usr/bin/python3"]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": SITE, "WHISPERD_SOCKET_GROUP": ""}
        return subprocess.Popen(
            [*emulator, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, cpu: str = "cortex-a72") -> str:
        """Run it to its end; returns what it said. An end by a signal, such as SIGILL, fails the test."""
        process = self.start(*arguments, cpu=cpu)
        try:
            said, _ = process.communicate(timeout=START_SECONDS)
        finally:
            process.kill()
        assert process.returncode == 0, f"ended with {process.returncode}:\n{said}"
        return said

    @contextlib.contextmanager
    def daemon(self) -> Iterator[Client]:
        """A daemon in the emulator, and a client of it on the host. Its end is checked."""
        process = self.start("-m", "whisperd", "--model", MODEL, "--socket", SOCKET)
        try:
            until = time.monotonic() + START_SECONDS
            while not self.socket.exists():
                assert process.poll() is None, f"ended with {process.returncode}:\n{process.communicate()[0]}"
                assert time.monotonic() < until, f"no socket after {START_SECONDS:.0f} s"
                time.sleep(0.2)
            with Client(self.socket, timeout=START_SECONDS) as client:
                yield client
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=START_SECONDS)
            assert process.returncode == 0, said
        finally:
            process.kill()
            process.wait()

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
