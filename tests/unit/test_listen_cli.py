"""whisperctl listen and devices: what is printed, what is sent, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_daemon import FINAL, STOPPED, WAIT_SECONDS, Scripted, final, partial, say
from whisperd import cli
from whisperd.audio import capture
from whisperd.cli_sources import FileSource


@pytest.fixture(autouse=True)
def no_socket_by_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("WHISPERD_SOCKET_PATH", raising=False)
    with open(os.devnull) as stdin:  # no terminal, whoever runs the tests
        monkeypatch.setattr(sys, "stdin", stdin)
        yield


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Scripted]:
    with Scripted(tmp_path / "s") as scripted:
        yield scripted


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A fifth of a second."""
    with wave.open(str(tmp_path / "a.wav"), "wb") as written:
        written.setparams((1, 2, 16_000, 3200, "NONE", ""))
        written.writeframes(np.arange(3200, dtype="<i2").tobytes())
    return str(tmp_path / "a.wav")


def listen(daemon: Scripted, *arguments: str) -> int:
    return cli.main(["--socket", str(daemon.path), "listen", *arguments])


def command(daemon: Scripted, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "whisperd.cli", "--socket", str(daemon.path), "listen", *arguments]


# --- a file ---------------------------------------------------------------------------------------------------


def test_a_file_is_sent_whole_and_its_texts_are_all_that_is_printed(
    daemon: Scripted, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers["audio-stop"] = [
        ("level", {"rms": -20, "peak": -10}),
        partial("One", " tow"),
        final("One two."),
        ("no-speech", {"utterance": 1, "reason": "no-voice", "audio_seconds": 0.5}),
        final("Three.", 2),
        STOPPED,
    ]
    assert listen(daemon, "--file", file) == cli.OK
    assert capsys.readouterr() == ("One two.\nThree.\n", "")
    assert bytes(daemon.audio) == np.arange(3200, dtype="<i2").tobytes()
    assert daemon.wait_for("transcribe").data["mode"] == "hands-free"


def test_a_file_from_standard_input(daemon: Scripted, file: str) -> None:
    daemon.answers["audio-stop"] = [final("One."), STOPPED]
    done = subprocess.run(
        command(daemon, "--file", "-"),
        input=Path(file).read_bytes(),
        capture_output=True,
        timeout=WAIT_SECONDS,
        check=True,
    )
    assert (done.stdout, done.stderr, len(daemon.audio)) == (b"One.\n", b"", 6400)


def test_options_are_passed_on(daemon: Scripted, file: str) -> None:
    daemon.answers["audio-stop"] = [final("Ja."), STOPPED]
    asked = ["--language", "de", "--task", "translate", "--sensitivity", "aggressive", "--push-to-talk"]
    assert listen(daemon, "--file", file, *asked) == cli.OK
    told = daemon.wait_for("transcribe").data
    assert {key: told[key] for key in told if key != "id"} == {
        "live": True,
        "mode": "push-to-talk",
        "language": "de",
        "task": "translate",
        "vad_sensitivity": "aggressive",
    }


def test_a_file_is_played_at_the_speed_of_its_clock() -> None:
    now = [100.0]
    source = FileSource(np.arange(2000, dtype=np.int16), lambda: now[0])
    source.start()
    assert source.read() == b"" and source.wait() == pytest.approx(0.05)
    now[0] += 0.05
    assert source.read() == np.arange(800, dtype="<i2").tobytes()
    assert source.read() == b"" and source.wait() == pytest.approx(0.05)
    now[0] += 99
    assert source.wait() == 0.0
    assert source.read() == np.arange(800, 2000, dtype="<i2").tobytes()
    assert source.read() is None


def test_nothing_was_said(daemon: Scripted, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["audio-stop"] = [("listen-stopped", {"utterances": 0})]
    assert listen(daemon, "--file", file) == cli.OK
    assert capsys.readouterr() == ("", "no speech\n")


def test_a_file_that_is_none(daemon: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, says in ((str(tmp_path / "absent.wav"), "No such file"), (str(daemon.path.parent), "directory")):
        assert listen(daemon, "--file", name) == cli.FAILED
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("whisperctl: ") and name in err and says in err
    assert listen(daemon, "--json", "--file", str(tmp_path / "absent.wav")) == cli.FAILED
    assert json.loads(capsys.readouterr().out)["code"] == "bad-file"


def test_every_event_is_a_line_of_json(daemon: Scripted, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["audio-stop"] = [partial("One", " two"), ("mic-restored", {}), final("One – two."), STOPPED]
    assert listen(daemon, "--json", "--file", file) == cli.OK
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"type": "listening", "mode": "hands-free", "device": None},
        {"type": "partial", "utterance": 0, "revision": 0, "stable": "One", "unstable": " two"},
        {"type": "mic-restored"},
        {"type": "transcript", **FINAL, "text": "One – two."},
        {"type": "listen-stopped", "utterances": 1},
    ]
    assert err == "microphone restored\n"


def test_words_cannot_command_a_terminal(daemon: Scripted, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["audio-stop"] = [
        final("a\x1b[2Jb"),
        ("mic-lost", {"text": "\x9bx", "retry_seconds": 1}),
        STOPPED,
    ]
    assert listen(daemon, "--file", file) == cli.OK
    out, err = capsys.readouterr()
    assert out == "a\\x1b[2Jb\n" and "\\x9bx" in err


# --- a microphone ---------------------------------------------------------------------------------------------


def test_once_ends_with_the_first_text(daemon: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["listen"] = [
        ("listening", {"mode": "hands-free", "device": "mic"}),
        final("First."),
        final("No."),
    ]
    assert listen(daemon, "--once") == cli.OK
    assert capsys.readouterr().out == "First.\n"
    assert daemon.wait_for("cancel").data["id"] == daemon.wait_for("listen").data["id"]
    assert not [event for event in daemon.heard if event.type == "listen-stop"]


def test_trouble_is_told_on_stderr(daemon: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["listen"] = [
        ("listening", {"mode": "hands-free", "device": "mic"}),
        ("overrun", {"samples": 8000, "seconds": 0.5}),
        ("mic-lost", {"text": "unplugged", "retry_seconds": 2.0}),
        ("mic-restored", {}),
        final("Word."),
    ]
    assert listen(daemon, "--once") == cli.OK
    out, err = capsys.readouterr()
    assert out == "Word.\n"
    assert err.splitlines() == [
        "0.5 s of audio were lost",
        "microphone lost: unplugged; whisperd looks for it every 2 s",
        "microphone restored",
    ]


@pytest.mark.parametrize("as_json", [False, True])
def test_no_microphone(daemon: Scripted, capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    daemon.answers["listen"] = [("error", {"code": "no-microphone", "text": "cannot open it", "retry": True})]
    assert listen(daemon, *["--json"] * as_json) == cli.FAILED
    out, err = capsys.readouterr()
    assert err == "whisperctl: cannot open it\n"
    told = {"type": "error", "code": "no-microphone", "text": "cannot open it", "retry": True}
    assert [json.loads(line) for line in out.splitlines()] == [told] * as_json


def test_a_lost_utterance_is_a_failure(daemon: Scripted, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = ("error", {"code": "queue-full", "text": "too many", "retry": True, "utterance": 0})
    daemon.answers["audio-stop"] = [error, final("Two.", 1), STOPPED]
    assert listen(daemon, "--file", file) == cli.FAILED
    assert capsys.readouterr() == ("Two.\n", "something that was said was lost: too many\n")


def test_a_daemon_that_ends_it(daemon: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    begun = ("listening", {"mode": "hands-free", "device": "mic"})
    daemon.answers["listen"] = [begun, final("Bye."), STOPPED]
    assert listen(daemon) == cli.FAILED
    assert capsys.readouterr() == ("Bye.\n", "whisperd ended listening by itself\n")
    daemon.answers["listen"] = [begun, ("error", {"code": "shutting-down", "text": "it stops", "retry": True})]
    assert listen(daemon) == cli.FAILED
    assert capsys.readouterr() == ("", "whisperctl: it stops\n")


def test_a_daemon_that_dies(daemon: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    killing = threading.Thread(target=lambda: (daemon.wait_for("listen"), daemon.hang_up()))
    killing.start()
    assert listen(daemon) == cli.UNREACHABLE
    killing.join()
    assert "closed the connection" in capsys.readouterr().err


class Capture:
    """In place of `audio.capture.Capture`: a thousand samples, and then what the test says."""

    closed = 0

    def __init__(self, device: str) -> None:
        self.device = device
        self._read = False

    def read(self) -> tuple[Any, int]:
        if not self._read:
            self._read = True
            time.sleep(0.05)  # what is captured before the daemon listens is not wanted
            return np.zeros(0, np.int16), 0
        time.sleep(0.02)
        if self.device == "vanishing":
            raise capture.DeviceLost("unplugged")
        return np.full(1000, 7, np.int16), 160

    def close(self) -> None:
        Capture.closed += 1


def test_a_device_of_this_machine(
    daemon: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(capture, "Capture", Capture)
    closed = Capture.closed
    speaking = threading.Thread(target=lambda: (daemon.wait_for_audio(6000), say(daemon, final("Seven."))))
    speaking.start()
    assert listen(daemon, "--once", "--device", "hw:1") == cli.OK
    speaking.join()
    out, err = capsys.readouterr()
    assert out == "Seven.\n" and "0.01 s of audio were lost" in err
    assert set(daemon.audio[::2]) == {7} and Capture.closed == closed + 1
    assert listen(daemon, "--device", "vanishing") == cli.FAILED
    assert "the microphone 'vanishing' is gone: unplugged" in capsys.readouterr().err
    assert Capture.closed == closed + 2


# --- Ctrl-C ---------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_and_what_is_being_said_is_still_printed(daemon: Scripted) -> None:
    daemon.answers["listen-stop"] = [final("The rest."), STOPPED]
    with subprocess.Popen(command(daemon), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        daemon.wait_for("listen")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=WAIT_SECONDS)
    assert (out, err, running.returncode) == (b"The rest.\n", b"", cli.OK)


def test_a_second_ctrl_c_leaves_at_once(daemon: Scripted) -> None:
    daemon.answers["listen-stop"] = []
    with subprocess.Popen(command(daemon), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        daemon.wait_for("listen")
        running.send_signal(signal.SIGINT)
        daemon.wait_for("listen-stop")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=WAIT_SECONDS)
    assert (out, err, running.returncode) == (b"", b"whisperctl: interrupted\n", cli.INTERRUPTED)


def test_a_reader_that_has_enough(daemon: Scripted) -> None:
    with subprocess.Popen(command(daemon), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        daemon.wait_for("listen")
        running.stdout.close()
        say(daemon, final("Words."))
        assert running.stderr.read() == b"" and running.wait(WAIT_SECONDS) == cli.OK


# --- devices --------------------------------------------------------------------------------------------------


def devices(daemon: Scripted, found: list[dict[str, Any]], *arguments: str) -> int:
    daemon.answers["devices"] = [("devices", {"id": None, "devices": found})]
    return cli.main(["--socket", str(daemon.path), "devices", *arguments])


def test_devices(daemon: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        {"name": "hw:CARD=Mic", "description": "a\x1bb, as the hardware is", "default": False},
        {"name": "default", "description": "", "default": True},
    ]
    assert devices(daemon, found) == cli.OK
    out, err = capsys.readouterr()
    assert out == "  hw:CARD=Mic\n    a\\x1bb, as the hardware is\n* default\n" and "configured" in err
    assert devices(daemon, found, "--json") == cli.OK
    assert json.loads(capsys.readouterr().out) == found
    assert devices(daemon, found[:1]) == cli.OK
    assert "none of these" in capsys.readouterr().err


def test_no_devices(daemon: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert devices(daemon, []) == cli.OK
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("no capture devices: plug in a microphone")
    daemon.answers["devices"] = []
    assert devices(daemon, [], "--json") == cli.OK
    assert capsys.readouterr().out == "[]\n"
