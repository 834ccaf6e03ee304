"""SIGHUP to a real daemon: another model in the same process, a broken one refused, memory given back."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_process import DaemonProcess
from speech import COMMITTED, words
from whisperd.audio.files import read_audio

WAIT_SECONDS = 60.0


class Daemon:
    """A daemon without a terminal, whose configuration file the test writes, and what it tells systemd."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.file = folder / "whisperd.toml"
        self.configure(model)
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(folder / "notify"))
        self._notified.settimeout(WAIT_SECONDS)
        self.process = DaemonProcess(model, folder, {"NOTIFY_SOCKET": str(folder / "notify")})
        python, *_ = self.process.command
        arguments = ["--config", str(self.file), "--socket", str(self.process.socket), "--threads", "2"]
        # With a terminal SIGHUP would be the terminal's end.
        self.process.command = ["setsid", python, "-m", "whisperd", *arguments]

    def configure(self, model: Path) -> None:
        self.file.write_text(f'[model]\npath = "{model}"\n')

    def hang_up(self) -> list[list[str]]:
        """Send the signal; returns the messages from RELOADING to READY."""
        os.kill(self.process.pid, signal.SIGHUP)
        messages: list[list[str]] = []
        while not messages or "READY=1" not in messages[-1]:
            message = self._notified.recv(4096).decode().split("\n")
            if messages or "RELOADING=1" in message:
                messages.append(message)
        return messages

    def close(self) -> None:
        self.process.stop()
        self._notified.close()


@pytest.fixture
def daemon(tiny_en: Path, tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tiny_en, tmp_path)
    made.process.start()
    yield made
    made.close()


def until(happened: Callable[[], bool]) -> None:
    give_up = time.monotonic() + WAIT_SECONDS
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_models_come_and_go_and_leave_no_memory_behind(daemon: Daemon, tiny_en: Path, base: Path) -> None:
    pcm = read_audio(COMMITTED[1].path, 60)
    sizes = []
    for model in (base, tiny_en, base, tiny_en, base, tiny_en):
        daemon.configure(model)
        first, *_, last = daemon.hang_up()
        reloading, monotonic, _ = first
        assert reloading == "RELOADING=1"
        assert abs(int(monotonic.removeprefix("MONOTONIC_USEC=")) / 1e6 - time.monotonic()) < WAIT_SECONDS
        assert last == ["READY=1", f"STATUS={model.name}: idle, 0 waiting, 0 connections"]
        with daemon.process.client() as client:
            assert client.status()["model"] == model.name
            assert words(client.transcribe(pcm).text) == words(COMMITTED[1].text)
        if model is tiny_en:
            sizes.append(daemon.process.memory())
    # Each model takes more than a hundred.
    assert max(sizes) - min(sizes) < 40, sizes


def test_what_is_refused(daemon: Daemon, tiny_en: Path, tmp_path: Path) -> None:
    daemon.configure(tmp_path / "nothing")
    refusal = f"no model bundle in {tmp_path / 'nothing'}"
    assert refusal in daemon.hang_up()[-1][1]
    with daemon.process.client() as client:
        status = client.status()
        assert status["model"] == "tiny.en" and status["reload_error"].startswith(refusal)
    daemon.configure(tiny_en)
    assert daemon.hang_up()[-1] == ["READY=1", "STATUS=tiny.en: idle, 0 waiting, 0 connections"]
    with daemon.process.client() as client:
        assert client.status()["reload_error"] == ""


def test_a_stop_while_a_model_is_loading(daemon: Daemon, base_fp32: Path) -> None:
    daemon.configure(base_fp32)
    os.kill(daemon.process.pid, signal.SIGHUP)
    until(lambda: "reloading" in daemon.process.log)
    assert daemon.process.stop() == 0
    assert "Traceback" not in daemon.process.log
