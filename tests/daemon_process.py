"""A real whisperd in a process of its own, as tests need it: started, spoken to, looked at, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from whisperd.client import Client

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meta-whisper"
VAD = CACHE / "weights" / "silero-vad" / "silero_vad_16k_op15.onnx"

READY_SECONDS = 120.0
STOP_SECONDS = 60.0


class DaemonProcess:
    """One daemon.

    Args:
        bundle: its model.
        folder: for its socket and log.
        environment: additional variables, such as WHISPERD_LIMITS_MAX_CONNECTIONS.
        arguments: additional flags.
    """

    def __init__(
        self, bundle: Path, folder: Path, environment: dict[str, str] | None = None, *arguments: str
    ) -> None:
        self.socket = folder / "whisperd.sock"
        self.log_path = folder / "whisperd.log"
        self.command = [
            *(sys.executable, "-m", "whisperd"),
            *("--model", str(bundle), "--socket", str(self.socket), "--threads", "2", *arguments),
        ]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("WHISPERD_", "NOTIFY_", "LISTEN_"))}
        ours = {"WHISPERD_SOCKET_GROUP": "", "WHISPERD_MODEL_VAD": str(VAD)}
        self.environment = {**clean, **ours, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> DaemonProcess:
        """Start and wait until it answers."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stderr=log, stdout=log)
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"whisperd ended with {self.process.returncode}:\n{self.log}")
            try:
                self.connect().close()
                return self
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise AssertionError(f"whisperd is not ready after {READY_SECONDS} s:\n{self.log}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop and return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"whisperd did not stop on {how.name}:\n{self.log}") from None

    def __enter__(self) -> DaemonProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    def memory(self) -> float:
        """Resident memory in MiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")

    def client(self, **options: Any) -> Client:
        """The project's own client, connected on entry."""
        return Client(self.socket, **options)

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """A bare connection."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        until = time.monotonic() + timeout
        while True:
            try:
                connection.connect(str(self.socket))
                return connection
            except BlockingIOError:  # the backlog is full: on a busy machine the daemon does not get to accept
                if time.monotonic() > until:
                    connection.close()
                    raise
                time.sleep(0.02)
            except OSError:
                connection.close()
                raise


class Wire:
    """A bare connection that speaks events without the project's codec: headers as JSON, and nothing checked."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._file = connection.makefile("rb")

    def send(self, event_type: str, data: dict[str, Any] | None = None, payload: bytes = b"") -> None:
        """Write one event."""
        header = {"type": event_type, "data": data or {}, "payload_length": len(payload)}
        self.connection.sendall(json.dumps(header).encode() + b"\n" + payload)

    def receive(self) -> tuple[str, dict[str, Any]] | None:
        """Read one event; None at the end of the stream."""
        try:
            line = self._file.readline()
        except ConnectionResetError:  # the daemon closed with bytes of ours unread, after its last words
            return None
        if not line:
            return None
        header = json.loads(line)
        data = dict(header.get("data") or {})
        if header.get("data_length"):
            data.update(json.loads(self._file.read(header["data_length"])))
        self._file.read(header.get("payload_length") or 0)
        return header["type"], data

    def clip(self, pcm: bytes, rate: int = 16000, width: int = 2, channels: int = 1, chunk: int = 32768) -> None:
        """Write a clip without a transcribe before it."""
        form = {"rate": rate, "width": width, "channels": channels}
        self.send("audio-start", form)
        for start in range(0, len(pcm), chunk):
            self.send("audio-chunk", form, pcm[start : start + chunk])
        self.send("audio-stop")

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self.connection.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
