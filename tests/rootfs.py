"""Debian root file systems and wheels for tests that need another machine: made once, kept in the cache.

What is kept is named by a hash of how it was made, so that a change of the recipe makes a new one, and old ones
can be removed at any time. Root is needed: mmdebstrap installs packages in a chroot.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from daemon_process import CACHE

ROOT = Path(__file__).resolve().parents[1]
SUITE = "bookworm"
PYTHON = "3.11"
"""The suite's Python."""

NEWEST_GLIBC = 36
"""The suite has 2.36: the newest that a wheel may ask for."""

MAKE_SECONDS = 1500
"""Packages of a slow mirror, and an emulator that configures them."""

NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}

NOT_RUN: dict[str, str] = {}
"""Folder of tests -> why it was not run, for the end of the report."""


def skip(folder: str, reason: str) -> None:
    """Skip so that it is seen: the reason is printed large at the end of the run."""
    NOT_RUN[folder] = reason
    pytest.skip(reason)


def require(folder: str, *tools: str) -> None:
    """Skip where there is no root, or a tool is not installed."""
    if os.geteuid() != 0:
        skip(folder, "needs root, for chroot, mounts and control groups")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        skip(folder, f"not installed: {', '.join(missing)}; .ci/run names the packages")


def debian(arch: str, packages: Sequence[str], *, extract_only: bool = False) -> Path:
    """A root file system of the suite. Not to be changed: copy it, or mount over it.

    Args:
        arch: Debian's name, such as "arm64".
        packages: beside the smallest set.
        extract_only: unpack and configure nothing, which needs no emulator for a foreign architecture.
    """
    command = [
        *("mmdebstrap", "--quiet", "--format=directory", f"--architectures={arch}"),
        f"--variant={'extract' if extract_only else 'minbase'}",
        f"--include={','.join(packages)}",
        "--aptopt=Acquire::Retries 5",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")),
        SUITE,
    ]

    def make(folder: Path) -> None:
        _run([*command, str(folder)])

    return _kept(f"rootfs/{SUITE}-{arch}", "\n".join(command), make)


def wheels(
    arch: str, requirements: Sequence[str], from_source: Sequence[str] = (), *, alone: bool = False
) -> Path:
    """A folder of wheels for the suite's Python on some architecture.

    Args:
        requirements: as pip takes them.
        from_source: pure Python packages that have no wheel.
        alone: without what they depend on.
    """
    glibc = [f"manylinux_2_{minor}" for minor in range(NEWEST_GLIBC, 16, -1)]
    platforms = [f"--platform={name}_{MACHINES[arch]}" for name in (*glibc, "manylinux2014")]
    tags = [f"--abi={abi}" for abi in ("cp" + PYTHON.replace(".", ""), "abi3", "none")]

    def make(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq"]
        target = ["--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp", *tags, *platforms]
        if alone:
            target.append("--no-deps")
        _run([*pip, "download", "-d", str(folder), *target, *requirements])
        if from_source:
            _run([*pip, "wheel", "--no-deps", "-w", str(folder), *from_source])

    return _kept(f"wheels/{arch}", "\n".join((*platforms, *tags, *requirements, *from_source, str(alone))), make)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a root file system with owners, modes and devices."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True, timeout=600)


def remove_tree(root: Path) -> None:
    """Remove one. Nothing is mounted in it that others see."""
    shutil.rmtree(root, ignore_errors=True)


def dependencies() -> list[str]:
    """What the daemon's package depends on, for the suite's Python."""
    text = (ROOT / "service/pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert block is not None, "pyproject.toml has no dependencies"
    lines = re.findall(r'^    "([^"]+)"', block[1], re.MULTILINE)
    version = int(PYTHON.split(".")[1])
    return [line.split(";")[0].strip() for line in lines if _applies(line, version)]


def _applies(requirement: str, minor: int) -> bool:
    marker = re.search(r"; python_version (<|>=) '3\.(\d+)'$", requirement)
    if marker is None:
        assert ";" not in requirement, f"a marker that this does not know: {requirement}"
        return True
    return minor < int(marker[2]) if marker[1] == "<" else minor >= int(marker[2])


def _kept(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """The folder of this name and recipe, made if it is not there. What is there is whole: it is renamed last."""
    folder = CACHE / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(folder.name + ".lock")):
        if not folder.is_dir():
            print(f"making {folder} (once)", file=sys.stderr, flush=True)
            partial = folder.with_name(folder.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            partial.rename(folder)
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False)
    if done.returncode:
        pytest.fail(
            f"{' '.join(command[:6])} … ended with {done.returncode}:\n{done.stderr[-4000:]}", pytrace=False
        )
