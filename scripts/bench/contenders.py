"""The daemon and the strangers behind one interface: a process, a ready time, and text for a clip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from whisperd.audio.files import read_audio
from whisperd.client import Client, ClientError

_WORKER = Path(__file__).with_name("worker.py")
READY_SECONDS = 60.0
STOP_SECONDS = 10.0


class Contender(Protocol):
    """What the benchmark compares."""

    name: str
    ready_s: float
    pid: int

    def transcribe(self, clip: Path) -> tuple[str, float]:
        """Text, and seconds from handing the clip over to having the text."""

    def __enter__(self) -> Contender: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Daemon:
    """whisperd as it is: its own process, spoken to through its socket, the samples sent and all."""

    name = "whisperd"

    def __init__(self, bundle: Path, threads: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="whisperd-bench-")
        self._socket = Path(self._folder.name) / "s"
        command = [sys.executable, "-m", "whisperd", "--model", str(bundle), "--socket", str(self._socket)]
        environment = {**os.environ, "WHISPERD_SOCKET_GROUP": ""}
        begun = time.perf_counter()
        self._process = subprocess.Popen([*command, "--threads", str(threads)], env=environment)
        self.pid = self._process.pid
        self._client = self._connect(begun + READY_SECONDS)
        self.ready_s = time.perf_counter() - begun

    def _connect(self, until: float) -> Client:
        while True:
            try:
                return Client(self._socket).connect()
            except ClientError:
                if self._process.poll() is not None or time.perf_counter() > until:
                    raise
                time.sleep(0.01)

    def transcribe(self, clip: Path) -> tuple[str, float]:
        """Through the socket. Reading the file is not timed, for the strangers neither."""
        pcm = read_audio(clip, 600.0)
        begun = time.perf_counter()
        text = self._client.transcribe(pcm).text
        return text, time.perf_counter() - begun

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(STOP_SECONDS)
        self._folder.cleanup()


class Stranger:
    """Another engine in worker.py's process; called directly, so it has no socket to pay for."""

    def __init__(self, name: str, model: Path, threads: int) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, str(_WORKER), name, str(model), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.pid = self._process.pid
        self.ready_s = float(self._answer()["ready"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        status = self._process.wait()
        self._errors.seek(0)
        raise SystemExit(f"{self.name} ended with status {status}:\n{self._errors.read()[-2000:]}")

    def transcribe(self, clip: Path) -> tuple[str, float]:
        """Directly; the seconds are the worker's own."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{clip}\n")
        self._process.stdin.flush()
        answer = self._answer()
        return str(answer["text"]), float(answer["seconds"])

    def __enter__(self) -> Stranger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._errors.close()


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident megabytes (2^20 bytes) of a process now, and at its peak."""
    values = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(("VmRSS:", "VmHWM:")):
            values[line[:5]] = int(line.split()[1]) / 1024
    return values["VmRSS"], values["VmHWM"]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
