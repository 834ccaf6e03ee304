"""whisperctl listen with the real daemon, a real model and real speech, from files and microphones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alsa_microphone
import numpy as np
import pytest
from alsa_microphone import AlsaMicrophone
from daemon_process import DaemonProcess
from speech import COMMITTED, Clip, words
from whisperd.audio.files import read_audio

WAIT_SECONDS = 120.0
SAMPLE, COMMAND = COMMITTED
PAUSE = bytes(2 * 32_000)
"""Two seconds: longer than the end of speech takes."""


def pcm(clip: Clip) -> bytes:
    return read_audio(clip.path, 60.0).tobytes()


@contextmanager
def listening(
    daemon: DaemonProcess, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A running `whisperctl listen`."""
    command = [sys.executable, "-m", "whisperd.cli", "--socket", str(daemon.socket), "listen", *arguments]
    with subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def end(running: subprocess.Popen[str]) -> tuple[list[str], str]:
    """Lines of stdout, and stderr, of one that ends well."""
    out, err = running.communicate(timeout=WAIT_SECONDS)
    assert running.returncode == 0, err
    return out.splitlines(), err


# --- files ----------------------------------------------------------------------------------------------------


def test_a_file(daemon: DaemonProcess) -> None:
    with listening(daemon, "--file", str(SAMPLE.path)) as running:
        lines, err = end(running)
    assert [words(line) for line in lines] == [words(SAMPLE.text)] and err == ""


def test_a_file_with_two_utterances_as_events(daemon: DaemonProcess, tmp_path: Path) -> None:
    import soundfile

    both = np.frombuffer(pcm(SAMPLE) + PAUSE + pcm(COMMAND), np.int16)
    soundfile.write(tmp_path / "both.flac", both, 16_000)
    with listening(daemon, "--json", "--file", str(tmp_path / "both.flac")) as running:
        lines, _ = end(running)
    events: list[dict[str, Any]] = list(map(json.loads, lines))
    assert events[0]["type"] == "listening" and events[-1] == {"type": "listen-stopped", "utterances": 2}
    finals = [event for event in events if event["type"] == "transcript"]
    assert [words(event["text"]) for event in finals] == [words(SAMPLE.text), words(COMMAND.text)]
    partials = [event for event in events if event["type"] == "partial"]
    # A busy machine has none for what is said quickly, but four seconds of speech are enough for one.
    assert any(event["utterance"] == 0 and event["stable"] + event["unstable"] for event in partials)
    for event in partials:
        final = finals[event["utterance"]]
        assert final["text"].startswith(event["stable"].strip())
        assert events.index(event) < events.index(final)
    assert any(event["type"] == "level" and event["rms"] > -30 for event in events)


def test_push_to_talk_takes_a_file_as_one(daemon: DaemonProcess) -> None:
    with listening(daemon, "--push-to-talk", "--file", str(COMMAND.path)) as running:
        lines, _ = end(running)
    assert [words(line) for line in lines] == [words(COMMAND.text)]


def test_silence(daemon: DaemonProcess, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000, np.int16), 16_000)
    with listening(daemon, "--file", str(tmp_path / "silence.wav")) as running:
        assert end(running) == ([], "no speech\n")


# --- microphones ----------------------------------------------------------------------------------------------


@pytest.fixture
def microphone(tmp_path: Path) -> Iterator[AlsaMicrophone]:
    alsa_microphone.require("tests/daemon/test_listen_command.py")
    with AlsaMicrophone(tmp_path) as plugged:
        yield plugged


@pytest.fixture
def with_microphone(base: Path, tmp_path: Path, microphone: AlsaMicrophone) -> Iterator[DaemonProcess]:
    with DaemonProcess(base, tmp_path, microphone.environment) as running:
        yield running


def test_once(with_microphone: DaemonProcess, microphone: AlsaMicrophone) -> None:
    with listening(with_microphone, "--once") as running:
        microphone.play(pcm(SAMPLE))  # from the moment on at which somebody listens
        lines, err = end(running)
    assert [words(line) for line in lines] == [words(SAMPLE.text)] and err == ""


def test_ctrl_c_prints_what_was_said(with_microphone: DaemonProcess, microphone: AlsaMicrophone) -> None:
    """Twice: the daemon is ready for the next as soon as this one is over."""
    for clip in (COMMAND, SAMPLE):
        with listening(with_microphone, "--push-to-talk") as running:
            microphone.play(pcm(clip) + PAUSE)
            running.send_signal(signal.SIGINT)
            lines, err = end(running)
        assert [words(line) for line in lines] == [words(clip.text)] and err == ""


def test_a_device_of_this_machine(daemon: DaemonProcess, microphone: AlsaMicrophone) -> None:
    environment = microphone.environment
    with listening(daemon, "--once", "--device", microphone.device, environment=environment) as running:
        microphone.play(pcm(COMMAND))
        lines, err = end(running)
    assert [words(line) for line in lines] == [words(COMMAND.text)] and err == ""


def test_no_microphone(base: Path, tmp_path: Path) -> None:
    alsa_microphone.require("tests/daemon/test_listen_command.py")
    nothing = {"WHISPERD_MICROPHONE_DEVICE": "hw:CARD=None"}
    with DaemonProcess(base, tmp_path, nothing) as daemon, listening(daemon, "--json") as running:
        out, err = running.communicate(timeout=WAIT_SECONDS)
    assert running.returncode == 1 and "hw:CARD=None" in err
    assert json.loads(out)["code"] == "no-microphone"
