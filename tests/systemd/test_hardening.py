"""What the running service may do, tried from inside its own process, and the same outside of its sandbox."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from machine import MEMBER, Machine
from speech import words
from test_operating import SAMPLE, SPOKEN

PROBE = Path(__file__).with_name("probe.py")

ALLOWED = (
    "write own folder",
    "write private tmp",
    "write private var/tmp",
    "write /dev/shm",
    "socket unix",
    # ONNX Runtime asks what the CPU can do, and a reload how much memory is left.
    "read /proc/cpuinfo",
    "read /proc/meminfo",
)

FREE_FOR_ANY_USER = (
    "socket inet",
    "socket inet6",
    "socket netlink",
    "map write and execute",
    "make written code executable",
    "run what was written",
    "run what was written in /var/tmp",
    "run what was written in /dev/shm",
    "set-user-id file",
    "see other processes",
    "personality",
    "trace",
)
"""What the same user may do without the unit: that the service may not is the sandbox's doing."""


def answers(text: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(text.split("probe ", 1)[1])
    return found


@pytest.fixture(scope="module")
def probed(booted: tuple[Machine, str]) -> dict[str, str]:
    """The answers from inside the service, which goes on to serve."""
    machine, _ = booted
    folder = machine.path("/opt/probe")
    folder.mkdir(exist_ok=True)
    shutil.copy(PROBE, folder / "sitecustomize.py")
    with machine.drop_in("[Service]\nEnvironment=PYTHONPATH=/opt/probe\n"):
        cursor = machine.cursor()
        machine.run("systemctl", "reset-failed", "whisperd.service", check=False)
        machine.run("systemctl", "restart", "whisperd.service")
        machine.wait_ready()
        done = machine.run("whisperctl", "transcribe", SAMPLE, user=MEMBER)
        assert words(done.stdout) == words(SPOKEN)
        lines = machine.messages(cursor).splitlines()
    machine.run("systemctl", "restart", "whisperd.service")
    return answers(next(line for line in lines if line.startswith("probe ")))


def test_all_that_is_allowed(probed: dict[str, str]) -> None:
    assert [name for name, answer in probed.items() if answer == "allowed"] == [
        name for name in probed if name in ALLOWED
    ], probed


def test_nothing_was_killed_or_unclear(probed: dict[str, str]) -> None:
    assert {name: answer for name, answer in probed.items() if answer in ("killed", "unknown")} == {}


def test_it_is_the_sandbox_that_refuses(machine: Machine) -> None:
    machine.run("mkdir", "-p", "/srv/probe")
    shutil.copy(PROBE, machine.path("/srv/probe/probe.py"))
    outside = answers(machine.run("/usr/bin/python3", "/srv/probe/probe.py", user="whisperd").stderr)
    assert {name: outside[name] for name in FREE_FOR_ANY_USER if outside[name] != "allowed"} == {}
