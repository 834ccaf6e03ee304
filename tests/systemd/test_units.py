"""The units as files: what systemd's own checks say of them, and that nothing was left out without a reason."""

from __future__ import annotations

import re
import subprocess

import rootfs
from machine import FOLDER, Machine

UNITS = rootfs.ROOT / "service/systemd"
MOST_EXPOSURE = 1.0
"""Of 10, by `systemd-analyze security`."""


def security(*arguments: str) -> subprocess.CompletedProcess[str]:
    rootfs.require(FOLDER, "systemd-analyze")
    return subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--no-pager",
            "--offline=true",
            *arguments,
            str(UNITS / "whisperd.service"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_exposure() -> None:
    done = security(f"--threshold={MOST_EXPOSURE * 10:.0f}")
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"Overall exposure level for whisperd.service: ([0-9.]+)", done.stdout)
    assert found and float(found[1]) <= MOST_EXPOSURE, done.stdout


def test_the_check_of_exposure_can_fail() -> None:
    assert security("--threshold=1").returncode != 0


def test_each_directive_that_is_left_out_has_its_reason() -> None:
    text = (UNITS / "whisperd.service").read_text()
    crosses = re.findall(r"^✗ (\S+)", security().stdout, re.MULTILINE)
    assert crosses, "nothing is left out: then this test has no subject"
    # DeviceAllow= and RestrictAddressFamilies= are there, and allow one thing each: said beside them.
    unexplained = [
        name
        for cross in crosses
        for name in re.findall(r"([A-Z]\w+)=", cross)
        if not re.search(rf"^# {name}=", text, re.MULTILINE)
        and name not in ("DeviceAllow", "RestrictAddressFamilies")
    ]
    assert unexplained == []


def test_verify_says_nothing(machine: Machine) -> None:
    # It ends with 0 for an unknown key: only silence counts.
    done = machine.run("systemd-analyze", "verify", "whisperd.service", "whisperd.socket", "whisperd-http.socket")
    assert done.stdout + done.stderr == ""


def test_the_check_by_verify_can_fail(machine: Machine) -> None:
    unit = "/usr/local/lib/systemd/system/whisperd.service"
    machine.run("sh", "-c", f"sed s/^MemoryMax/MemoryMost/ {unit} >/run/broken.service")
    assert "MemoryMost" in machine.run("systemd-analyze", "verify", "/run/broken.service", check=False).stderr
