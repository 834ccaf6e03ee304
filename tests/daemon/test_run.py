"""The scripts as a user types them: scripts/run, whisperctl and convert_model, as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import srt
from daemon_process import DaemonProcess
from speech import COMMITTED, DATA, ROOT, words

CONVERT = [sys.executable, str(ROOT / "scripts" / "convert_model")]


def whisperctl(
    daemon: DaemonProcess, *arguments: str, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "whisperd.cli", "--socket", str(daemon.socket), *arguments],
        input=stdin,
        capture_output=True,
        timeout=300,
        check=False,
    )


def test_text_on_stdout_and_timing_on_stderr(daemon: DaemonProcess) -> None:
    done = whisperctl(daemon, "transcribe", str(COMMITTED[0].path))
    assert done.returncode == 0
    assert words(done.stdout.decode()) == words(COMMITTED[0].text)
    assert b"real time" in done.stderr


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3"])
def test_file_formats(daemon: DaemonProcess, kind: str, tmp_path: Path) -> None:
    samples, rate = soundfile.read(COMMITTED[0].path)
    path = tmp_path / f"clip.{kind.lower()}"
    soundfile.write(path, samples, rate, format=kind)
    done = whisperctl(daemon, "transcribe", str(path))
    assert words(done.stdout.decode()) == words(COMMITTED[0].text)


def test_several_files_one_of_them_bad(daemon: DaemonProcess, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound at all")
    files = [str(COMMITTED[1].path), str(bad), str(tmp_path / "absent.wav"), str(COMMITTED[0].path)]
    done = whisperctl(daemon, "transcribe", "--json", *files)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == files
    answers = [line for line in lines if "text" in line]
    assert [words(answer["text"]) for answer in answers] == [words(COMMITTED[i].text) for i in (1, 0)]
    assert {"file", "text", "language", "segments", "audio_seconds", "rtf"} <= set(answers[0])
    errors = done.stderr.decode()
    assert "bad.wav" in errors and "absent.wav" in errors


def test_standard_input(daemon: DaemonProcess) -> None:
    done = whisperctl(daemon, "transcribe", "-", stdin=COMMITTED[1].path.read_bytes())
    assert words(done.stdout.decode()) == words(COMMITTED[1].text)


def long_recording(path: Path, seconds: float) -> list[int]:
    """Sentences in random order, far enough apart that Whisper hears each; returns which. So long at least."""
    rng = np.random.default_rng(11)
    spoken = [soundfile.read(clip.path, dtype="int16")[0] for clip in COMMITTED]
    order: list[int] = []
    parts: list[npt.NDArray[np.int16]] = []
    while sum(map(len, parts)) < seconds * 16_000:
        order.append(int(rng.integers(len(spoken))))
        parts += [spoken[order[-1]], rng.integers(-3, 4, int(rng.uniform(8, 12) * 16_000), np.int16)]
    soundfile.write(path, np.concatenate(parts), 16_000)
    return order


def test_a_recording_of_more_than_two_pieces_loses_no_sentence_and_doubles_none(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    order = long_recording(tmp_path / "long.flac", 250)
    done = whisperctl(daemon, "transcribe", "-f", "srt,json", str(tmp_path))
    assert done.returncode == 0, done.stderr
    said = [word for i in order for word in words(COMMITTED[i].text)]
    answer = json.loads((tmp_path / "long.json").read_text())
    assert words(answer["text"]) == said
    assert answer["audio_seconds"] == pytest.approx(soundfile.info(tmp_path / "long.flac").duration, abs=0.001)
    starts = [segment["start"] for segment in answer["segments"]]
    assert starts == sorted(starts) and starts[-1] > 240
    cues = list(srt.parse((tmp_path / "long.srt").read_text()))
    assert words(" ".join(cue.content for cue in cues)) == said


def test_words_with_their_times(daemon: DaemonProcess) -> None:
    done = whisperctl(daemon, "transcribe", "--json", "--word-timestamps", str(COMMITTED[0].path))
    answer = json.loads(done.stdout)
    told = [word for segment in answer["segments"] for word in segment["words"]]
    assert "".join(word["word"] for word in told).strip() == answer["text"]
    assert words(answer["text"]) == words(COMMITTED[0].text)
    times = [time for word in told for time in (word["start"], word["end"])]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= answer["audio_seconds"]
    assert all(0 < word["probability"] <= 1 and 0 < word["confidence"] <= 1 for word in told)


def test_questions(daemon: DaemonProcess) -> None:
    assert b"idle" in whisperctl(daemon, "status").stdout
    assert json.loads(whisperctl(daemon, "status", "--json").stdout)["model"] == "base"
    assert json.loads(whisperctl(daemon, "describe").stdout)["asr"][0]["name"] == "whisperd"
    assert b"base" in whisperctl(daemon, "models").stdout


def test_errors_help(daemon: DaemonProcess, tmp_path: Path) -> None:
    done = whisperctl(daemon, "transcribe", "--language", "xx", str(COMMITTED[0].path))
    assert (done.returncode, b"'xx'" in done.stderr) == (1, True)
    assert whisperctl(daemon, "sing").returncode == 2
    daemon_gone = DaemonProcess(tmp_path, tmp_path)
    done = whisperctl(daemon_gone, "status")
    assert done.returncode == 3
    assert b"scripts/run --serve" in done.stderr and b"systemctl start" in done.stderr
    help_text = whisperctl(daemon, "--help").stdout
    for taught in (b"transcribe", b"examples", b"exit codes"):
        assert taught in help_text


def test_a_socket_that_is_not_yours(daemon: DaemonProcess) -> None:
    """As another user: this process's child steps down, where it can."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        from whisperd.client import Client, PermissionDenied

        try:
            Client(daemon.socket).connect()
        except PermissionDenied as error:
            os.write(write, error.text.encode())
        finally:
            os._exit(0)
    os.close(write)
    said = os.read(read, 4096).decode()
    os.close(read)
    os.waitpid(child, 0)
    assert "may not open" in said and "usermod -aG" in said


def test_ctrl_c_of_whisperctl_is_quiet_and_cancels(daemon: DaemonProcess, tmp_path: Path) -> None:
    samples, rate = soundfile.read(COMMITTED[0].path, dtype="int16")
    long = tmp_path / "long.wav"
    soundfile.write(long, list(samples) * 60, rate, subtype="PCM_16")
    process = subprocess.Popen(
        [sys.executable, "-m", "whisperd.cli", "--socket", str(daemon.socket), "transcribe", str(long)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with daemon.client() as client:
        until = time.monotonic() + 30
        while not client.status()["running"] and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert out == b"" and b"Traceback" not in err
        until = time.monotonic() + 30
        while client.status()["running"] and time.monotonic() < until:
            time.sleep(0.02)
        assert client.status()["running"] == 0


def test_convert_model_s_list_and_errors(tmp_path: Path) -> None:
    def convert(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*CONVERT, *arguments], capture_output=True, text=True, timeout=120, check=False)

    listed = convert("--list")
    assert listed.returncode == 0
    for name in ("tiny", "tiny.en", "base", "small"):
        assert name in listed.stdout
    assert convert().returncode == 2
    assert convert("base", "--tail-stride", "0").returncode == 2
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.bin").write_bytes(b"\x06\0\0\0garbage")
    for arguments, complaint in (
        (("no-such-model",), "no-such-model"),
        (("small",), "--from"),
        (("--from", str(tmp_path / "absent")), "absent"),
        (("--from", str(tmp_path / "weights"), "--output", str(tmp_path / "out")), "weights"),
    ):
        done = convert(*arguments)
        assert done.returncode == 1, done
        assert complaint in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_scripts_parse_their_arguments() -> None:
    for script in ("run", "setup", "test"):
        path = ROOT / "scripts" / script
        done = subprocess.run([str(path), "--help"], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0 and done.stdout.startswith("usage: scripts/"), done
    done = subprocess.run(
        [str(ROOT / "scripts" / "run"), "--serve", str(DATA / "sample.wav")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2 and "--serve takes no files" in done.stderr
