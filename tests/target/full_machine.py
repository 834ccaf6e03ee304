"""A whole emulated machine: Cortex-A72, Debian's kernel, systemd, and the daemon with Whisper base and its limits.

Prints a report: what systemd says, the words, and the unit's peak memory by its control group, whose MemoryMax=
the kernel enforces. Called by scripts/test-machine; it takes many minutes.

No disk is emulated: the root file system comes as an initramfs and is copied into a tmpfs, so Debian's kernel
needs none of its modules.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rootfs  # noqa: E402

PACKAGES = (
    *("systemd", "systemd-sysv", "python3", "libstdc++6", "base-passwd", "base-files", "passwd", "bash", "dash"),
    *("coreutils", "util-linux", "libc-bin", "mount", "login", "kmod", "grep", "sed", "linux-image-arm64"),
)
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PYTHON_PACKAGES = "usr/lib/python3/dist-packages"
MEMORY_MB = 3072
MOST_SECONDS = 3600
MOST_PEAK = 300_000_000
"""Bytes: what Whisper base may take."""

SPOKEN = "turn on the air conditioning"

INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t tmpfs -o size=90% root /new
mkdir /new/proc /new/sys /new/dev
for name in /*; do
    case $name in /new | /proc | /sys | /dev) ;; *) cp -a "$name" /new/ ;; esac
done
umount /proc
exec switch_root /new /lib/systemd/systemd </dev/console >/dev/console 2>&1
"""

COMMAND = """#!/usr/bin/python3
import sys
from whisperd.{module} import main
sys.exit(main())
"""

SLOW = """# The emulator takes minutes for what the board does in seconds.
[Service]
TimeoutStartSec=30min
WatchdogSec=30min
"""

REPORT_UNIT = """[Unit]
Description=Ask the daemon, tell the console, and switch off
Requires=whisperd.service
After=whisperd.service
OnFailure=poweroff.target
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /opt/report.py
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
ExecStopPost=/bin/systemctl poweroff --no-block
TimeoutStartSec=infinity
[Install]
WantedBy=multi-user.target
"""

REPORT = """
import subprocess, sys, time, wave
from pathlib import Path

import numpy as np
from whisperd.client import Client

GROUP = Path("/sys/fs/cgroup/system.slice/whisperd.service")

def say(name, value):
    print(f"REPORT {name}: {value}", flush=True)

def shell(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()

with wave.open("/opt/command.wav") as clip:
    pcm = np.frombuffer(clip.readframes(clip.getnframes()), np.int16)
say("kernel", shell("uname", "-rm"))
say("systemd", shell("systemctl", "--version").split(" (")[0])
for line in Path("/proc/cpuinfo").read_text().splitlines():
    if line.startswith("CPU part"):
        say("CPU part", line.split()[-1])
        break
say("booted to here", shell("cut", "-d ", "-f1", "/proc/uptime") + " s")
say("active", shell("systemctl", "is-active", "whisperd.service"))
say("status", shell("systemctl", "show", "--value", "-p", "StatusText", "whisperd.service"))
say("failed units", shell("systemctl", "--failed", "--no-legend", "--plain") or "none")
with Client("/run/whisperd/whisperd.sock", timeout=1800) as client:
    for _ in range(3):
        begun = time.monotonic()
        say("words", client.transcribe(pcm).text)
        say("seconds", f"{time.monotonic() - begun:.1f} for {len(pcm) / 16000:.1f} s of audio, emulated")
    begun = time.monotonic()
    say("words of 28 s", client.transcribe(np.tile(pcm, int(28 * 16000 / len(pcm)))).text)
    say("seconds", f"{time.monotonic() - begun:.1f}")
for name in ("memory.peak", "memory.current", "memory.high", "memory.max", "pids.current", "pids.max"):
    if (GROUP / name).exists():
        say(name, (GROUP / name).read_text().strip())
say("memory.events", " ".join((GROUP / "memory.events").read_text().split()))
pid = shell("systemctl", "show", "--value", "-p", "MainPID", "whisperd.service")
for line in Path(f"/proc/{pid}/status").read_text().splitlines():
    if line.startswith(("VmHWM", "VmRSS", "Threads", "Seccomp:", "CapBnd")):
        say("process", " ".join(line.split()))
for line in shell("journalctl", "-u", "whisperd", "-o", "cat", "--no-pager").splitlines():
    say("journal", line)
say("end", "complete")
"""


def main() -> int:
    """Make the machine, boot it, and judge its report."""
    missing = [
        t for t in ("mmdebstrap", "qemu-system-aarch64", "qemu-aarch64-static", "cpio") if not shutil.which(t)
    ]
    if os.geteuid() != 0 or missing:
        print(f"test-machine: needs root and {', '.join(missing) or 'nothing else'}", file=sys.stderr)
        return 1
    bundle = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="whisperd-machine-") as folder:
        root, image = Path(folder) / "root", Path(folder) / "initramfs"
        rootfs.copy_tree(rootfs.debian("arm64", PACKAGES, extract_only=True), root)
        furnish(root, bundle)
        kernel = next((root / "boot").glob("vmlinuz-*")).rename(Path(folder) / "kernel")
        shutil.rmtree(root / "boot")
        shutil.rmtree(root / "lib/modules")
        with image.open("wb") as file:
            listing = subprocess.Popen(["find", ".", "-print0"], cwd=root, stdout=subprocess.PIPE)
            pack = ["cpio", "--null", "--create", "--format=newc", "--quiet"]
            subprocess.run(pack, cwd=root, stdin=listing.stdout, stdout=file, check=True)
            listing.wait()
        return judge(boot(kernel, image))


def furnish(root: Path, bundle: Path) -> None:
    """Configure what Debian's maintainer scripts would have, and install the daemon by its install step."""
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / f"etc/{name}")
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").write_text("emulated\n")
    (root / "etc/fstab").write_text("")
    (root / "new").mkdir()
    write(root / "init", INIT, 0o755)
    shutil.copy(str(shutil.which("qemu-aarch64-static")), root / "qemu")
    subprocess.run(["chroot", str(root), "/qemu", "/sbin/ldconfig"], check=True)
    (root / "qemu").unlink()
    site = root / PYTHON_PACKAGES
    wanted = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    for wheel in rootfs.wheels("arm64", wanted, ["sdnotify==0.3.2"], alone=True).glob("*.whl"):
        shutil.unpack_archive(wheel, site, "zip")
    shutil.copytree(
        rootfs.ROOT / "service/whisperd", site / "whisperd", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name, module in (("whisperd", "__main__"), ("whisperctl", "cli")):
        write(root / "usr/bin" / name, COMMAND.format(module=module), 0o755)
    step = [str(rootfs.ROOT / "service/install-system")]
    subprocess.run(step, env={**os.environ, "DESTDIR": str(root)}, check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(bundle, root / "usr/share/whisper/models/base")
    write(root / "etc/systemd/system/whisperd.service.d/slow.conf", SLOW)
    write(root / "etc/systemd/system/report.service", REPORT_UNIT)
    write(root / "opt/report.py", REPORT)
    shutil.copy(rootfs.ROOT / "tests/data/command.wav", root / "opt/command.wav")
    enable = [
        "systemctl",
        f"--root={root}",
        "--quiet",
        "enable",
        "whisperd.socket",
        "whisperd.service",
        "report.service",
    ]
    subprocess.run(enable, check=True)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def boot(kernel: Path, image: Path) -> str:
    """Run the machine until it switches itself off; returns what its console said."""
    command = [
        *("qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a72", "-smp", "4", "-m", str(MEMORY_MB)),
        *("-kernel", str(kernel), "-initrd", str(image), "-nographic", "-no-reboot", "-nic", "none"),
        *("-append", "console=ttyAMA0 rdinit=/init cgroup_enable=memory systemd.show_status=false panic=5"),
    ]
    console = []
    with subprocess.Popen(
        ["timeout", str(MOST_SECONDS), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as machine:
        assert machine.stdout is not None
        for line in machine.stdout:
            console.append(line)
            print(line, end="", flush=True)
    return "".join(console)


def judge(console: str) -> int:
    """Whether the report is whole and good."""
    said = dict(re.findall(r"REPORT ([\w. ]+): (.*?)\r?$", console, re.MULTILINE))
    wrong = []
    if said.get("end") != "complete":
        wrong.append("the report is not complete")
    if re.sub("[^a-z ]", "", said.get("words", "").lower()) != SPOKEN:
        wrong.append(f"the words are {said.get('words')!r}")
    if not 0 < int(said.get("memory.peak", "0")) < MOST_PEAK:
        wrong.append(f"the peak is {said.get('memory.peak')} bytes, not below {MOST_PEAK}")
    if not said.get("memory.max", "max").isdigit():
        wrong.append("MemoryMax= is not in force")
    for complaint in wrong:
        print(f"test-machine: {complaint}", file=sys.stderr)
    print("test-machine: " + ("failed" if wrong else "passed"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
