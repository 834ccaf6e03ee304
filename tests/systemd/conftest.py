"""The machine that the tests here share. It takes a minute to make, and some seconds to boot."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import rootfs
from machine import FOLDER, MEMBER, PACKAGES, STRANGER, TOOLS, Machine, NoMachine

GOOD_CONFIG = "# as installed: the model is /usr/share/whisper/models/base\n"


@pytest.fixture(scope="session")
def booted(
    base: Path, tiny_en: Path, vad: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Machine, str]]:
    """The machine, and what the install step printed."""
    rootfs.require(FOLDER, *TOOLS)
    folder = tmp_path_factory.mktemp("machine")
    root = folder / "root"
    try:
        rootfs.copy_tree(rootfs.debian(rootfs.NATIVE, PACKAGES), root)
        printed = install(root)
        models = root / "usr/share/whisper/models"
        models.mkdir(parents=True)
        for bundle in (base, tiny_en):
            shutil.copytree(bundle, models / bundle.name)
        (root / "usr/share/whisper/vad").mkdir()
        shutil.copy(vad, root / "usr/share/whisper/vad")
        shutil.copy(rootfs.ROOT / "tests/data/sample.wav", root / "srv/sample.wav")
        machine = Machine(root, folder / "console.log")
        try:
            try:
                machine.boot()
            except NoMachine as refused:
                rootfs.skip(FOLDER, f"this host does not let systemd-nspawn boot a machine: {refused}")
            yield machine, printed
        finally:
            machine.stop()
    finally:
        rootfs.remove_tree(root)


def install(root: Path) -> str:
    """Do what docs/operations.md says, in a chroot without a network: the wheels are in a folder."""
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
    shutil.copytree(rootfs.ROOT / "service", root / "opt/service", ignore=ignored)
    found = rootfs.wheels(rootfs.NATIVE, [*wanted(), "flit_core>=3.7.1,<5"], ["sdnotify==0.3.2"])
    shutil.copytree(found, root / "opt/wheels")
    in_chroot = ["chroot", str(root), "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PREFIX=/usr/local"]
    offline = ["PIP_NO_INDEX=1", "PIP_FIND_LINKS=/opt/wheels"]
    printed = ""
    for command in (
        [*offline, "/opt/service/install-system", "--venv"],
        # For HTTP, which is off: the daemon is to be without it until its socket is enabled.
        [*offline, "/usr/local/lib/whisperd/bin/pip", "install", "-q", "aiohttp"],
        ["systemd-sysusers"],
        ["systemctl", "enable", "whisperd.socket", "whisperd.service"],
        ["useradd", "--create-home", "--groups", "whisper", MEMBER],
        ["useradd", "--create-home", STRANGER],
    ):
        done = subprocess.run([*in_chroot, *command], capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            pytest.fail(f"{' '.join(command)}:\n{done.stdout}{done.stderr}", pytrace=False)
        printed += done.stdout
    shutil.rmtree(root / "opt/wheels")
    return printed


def wanted() -> list[str]:
    """The daemon's dependencies that have wheels."""
    return [line for line in rootfs.dependencies() if not line.startswith("sdnotify")] + ["aiohttp>=3.8,<4"]


@pytest.fixture
def machine(booted: tuple[Machine, str]) -> Machine:
    """The machine, with the service as installed, running and well, whatever the test before did."""
    machine, _ = booted
    machine.path("/etc/whisperd/whisperd.toml").write_text(GOOD_CONFIG)
    if not is_as_installed(machine):
        machine.run("systemctl", "stop", "whisperd.service", "whisperd.socket", check=False)
        machine.run("systemctl", "reset-failed", "whisperd.service", "whisperd.socket", check=False)
        machine.run("systemctl", "start", "whisperd.service")
        machine.wait_ready()
    return machine


def is_as_installed(machine: Machine) -> bool:
    if machine.show("SubState") != "running" or machine.show("DropInPaths"):
        return False
    asked = machine.run("whisperctl", "status", "--json", check=False)
    status = json.loads(asked.stdout) if asked.returncode == 0 else {}
    return (status.get("model"), status.get("reload_error"), status.get("state")) == ("base", "", "idle")
