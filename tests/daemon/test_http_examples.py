"""docs/http.md: every command and every program in it, run as it stands there against a real daemon."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import DaemonProcess
from speech import COMMITTED, ROOT

PAGE = (ROOT / "docs" / "http.md").read_text()
SOCKET = "/run/whisperd/http.sock"
RUN_SECONDS = 60.0


def examples() -> list[tuple[str, str]]:
    """(command, what it prints) of every `$ ` in a console block; what is printed has … for anything."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        for example in re.split(r"(?m)^\$ ", block)[1:]:
            lines = example.splitlines(keepends=True)
            length = 1
            while lines[length - 1].rstrip().endswith(("\\", "|")):
                length += 1
            found.append(("".join(lines[:length]), "".join(lines[length:])))
    return found


def programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def socket(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("http")
    path = folder / "http.sock"
    with DaemonProcess(base, folder, None, "--http-socket", str(path)):
        yield str(path)


def test_the_page_has_them() -> None:
    assert len(examples()) >= 12
    assert len(programs()) == 2
    assert all(SOCKET in text for text in [*(command for command, _ in examples()), *programs()])


@pytest.mark.parametrize(("command", "prints"), examples(), ids=range(len(examples())))
def test_an_example(socket: str, command: str, prints: str) -> None:
    script = f"set -euo pipefail\n{command.replace(SOCKET, socket)}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    pattern = ".*".join(re.escape(part) for part in prints.rstrip("\n").split("…"))
    assert re.fullmatch(pattern, done.stdout.rstrip("\n"), re.DOTALL), done.stdout


@pytest.mark.parametrize("program", programs(), ids=["openai", "websocket"])
def test_a_program(socket: str, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program.replace(SOCKET, socket)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = re.sub("[^a-z ]", "", done.stdout.splitlines()[0].lower())
    assert said == COMMITTED[0].text
