"""whisperctl: what is printed where, and how it ends, against the real server."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_daemon
import pytest
from fake_daemon import FakeEngine, serve
from whisperd import __version__, cli, cli_progress, recording
from whisperd.audio.pieces import pieces
from whisperd.config import Config, Limits
from whisperd.speech.types import Timings, Transcription

WAIT_SECONDS = fake_daemon.WAIT_SECONDS


@pytest.fixture(autouse=True)
def no_socket_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHISPERD_SOCKET_PATH", raising=False)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def path(tmp_path: Path, engine: FakeEngine) -> Iterator[Path]:
    with serve(tmp_path / "s", engine, Limits(max_clip_seconds=2.0)):
        yield tmp_path / "s"


def wav(folder: Path, name: str = "a.wav", frames: int = 1000, rate: int = 16_000) -> str:
    with wave.open(str(folder / name), "wb") as file:
        file.setparams((1, 2, rate, frames, "NONE", ""))
        file.writeframes(b"\1\0" * frames)
    return str(folder / name)


def before_others(folder: Path) -> str:
    """PYTHONPATH with a folder that hides packages."""
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def command(path: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "whisperd.cli", "--socket", str(path), *arguments]


# --- transcribe -----------------------------------------------------------------------------------------------


def test_one_file_gives_its_text_and_nothing_else_on_stdout(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--socket", str(path), "transcribe", wav(tmp_path)]) == cli.OK
    out, err = capsys.readouterr()
    assert out == "1000 samples\n"
    assert err.startswith("0.1 s of audio in ") and "x real time (queue " in err and err.count("\n") == 1


def test_several_files_are_told_apart(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [wav(tmp_path, "a.wav", 10), wav(tmp_path, "b.wav", 20)]
    assert cli.main(["--socket", str(path), "transcribe", *files]) == cli.OK
    assert capsys.readouterr().out == f"{files[0]}: 10 samples\n{files[1]}: 20 samples\n"


def test_language_and_task(
    path: Path, tmp_path: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["transcribe", "--language", "de", "--task", "translate", wav(tmp_path)]
    assert cli.main(["--socket", str(path), *asked]) == cli.OK
    ((_, options),) = engine.heard
    assert (options.language, options.task) == ("de", "translate")


def test_json_is_one_object_a_line(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [wav(tmp_path, "a.wav", 10), wav(tmp_path, "ü\n.wav", 20)]
    assert cli.main(["--socket", str(path), "transcribe", "--json", *files]) == cli.OK
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    assert [(f["file"], f["text"], f["language"]) for f in found] == [
        (files[0], "10 samples", "en"),
        (files[1], "20 samples", "en"),
    ]
    assert found[0]["segments"][0]["text"] == "10 samples" and "rtf" in found[0] and "id" not in found[0]
    assert err == ""


def bad_files(folder: Path) -> dict[str, str]:
    """Name -> a part of what is said of it."""
    (folder / "text.wav").write_text("no audio")
    (folder / "empty.wav").write_bytes(b"")
    return {
        str(folder / "absent.wav"): "No such file or directory",
        str(folder / "text.wav"): "Format not recognised",
        str(folder / "empty.wav"): "empty.wav",
        wav(folder, "still.wav", 0): "no samples",
    }


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_a_bad_file_does_not_stop_the_others(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], json_flag: list[str]
) -> None:
    bad, good = bad_files(tmp_path), wav(tmp_path, "good.wav")
    files = [good]
    for name in bad:
        files += [name, good]
    assert cli.main(["--socket", str(path), "transcribe", *json_flag, *files]) == cli.FAILED
    out, err = capsys.readouterr()
    complaints = [line for line in err.splitlines() if line.startswith("whisperctl: ")]
    assert len(complaints) == len(bad)
    for line, (name, says) in zip(complaints, bad.items(), strict=True):
        assert name in line and says in line
    if json_flag:
        found = [json.loads(line) for line in out.splitlines()]
        assert [f["file"] for f in found] == files
        assert [f["file"] for f in found if "error" in f] == list(bad)
        assert all(set(f["error"]) == {"code", "text", "retry"} for f in found if "error" in f)
    else:
        assert out == f"{good}: 1000 samples\n" * (len(bad) + 1)


# Sent in whole before the daemon says no, and interrupted by it.
@pytest.mark.parametrize("seconds", [1.5, 60])
def test_an_error_of_the_daemon_that_ends_the_connection_ends_one_file(
    seconds: float,
    tmp_path: Path,
    engine: FakeEngine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Cut here by a limit that is not the daemon's, as after a reload.
    monkeypatch.setattr(recording, "pieces", lambda blocks, longest_s: pieces(blocks, 1000.0))
    long, good = wav(tmp_path, "long.wav", int(16_000 * seconds)), wav(tmp_path, "good.wav")
    with serve(tmp_path / "s", engine, Limits(max_clip_seconds=1.0)):
        assert cli.main(["--socket", str(tmp_path / "s"), "transcribe", long, good]) == cli.FAILED
    out, err = capsys.readouterr()
    assert out == f"{good}: 1000 samples\n"
    assert f"whisperctl: {long}: " in err and "longer than 1 s" in err


def test_an_unknown_language_is_told_for_each_file(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = wav(tmp_path)
    asked = ["transcribe", "--json", "--language", "xx", file, file]
    assert cli.main(["--socket", str(path), *asked]) == cli.FAILED
    out, err = capsys.readouterr()
    assert [json.loads(line)["error"]["code"] for line in out.splitlines()] == ["unknown-language"] * 2
    assert err.count(f"whisperctl: {file}: no language 'xx'") == 2


def test_standard_input(path: Path, tmp_path: Path) -> None:
    data = Path(wav(tmp_path)).read_bytes()
    done = subprocess.run(
        command(path, "transcribe", "-"), input=data, capture_output=True, timeout=WAIT_SECONDS, check=True
    )
    assert done.stdout == b"1000 samples\n"
    done = subprocess.run(
        command(path, "transcribe", "-"), input=b"", capture_output=True, timeout=WAIT_SECONDS, check=False
    )
    assert done.returncode == cli.FAILED and b"standard input" in done.stderr and b"Traceback" not in done.stderr


class _Silent(FakeEngine):
    def transcribe(self, pcm: Any, options: Any, control: Any) -> Transcription:
        return Transcription("", "en", len(pcm) / 16_000, (), Timings(1, 2, 3), no_speech="silence")


def test_a_file_without_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = wav(tmp_path)
    with serve(tmp_path / "s", _Silent()):
        assert cli.main(["--socket", str(tmp_path / "s"), "transcribe", file]) == cli.OK
        out, err = capsys.readouterr()
        assert out == "\n" and err.startswith("no speech: 0.1 s of audio in ")
        assert cli.main(["--socket", str(tmp_path / "s"), "transcribe", "--json", file]) == cli.OK
        found = json.loads(capsys.readouterr().out)
    assert (found["file"], found["text"], found["no_speech"]) == (file, "", "silence")


def test_words_cannot_command_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = FakeEngine(text="a\x1b[2Jb\nc\x9b")
    with serve(tmp_path / "s", evil):
        assert cli.main(["--socket", str(tmp_path / "s"), "transcribe", wav(tmp_path)]) == cli.OK
        assert capsys.readouterr().out == "a\\x1b[2Jb\\nc\\x9b\n"
        assert cli.main(["--socket", str(tmp_path / "s"), "transcribe", str(tmp_path / "no\x1b[2J")]) == cli.FAILED
        assert "\x1b" not in capsys.readouterr().err


def test_a_terminal_that_is_not_utf_8_loses_a_letter_and_no_text(tmp_path: Path) -> None:
    with serve(tmp_path / "s", FakeEngine(text="Grüße – 你")):
        done = subprocess.run(
            command(tmp_path / "s", "transcribe", wav(tmp_path)),
            env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
            capture_output=True,
            timeout=WAIT_SECONDS,
            check=True,
        )
    assert done.stdout == "Grüße ? ?\n".encode("latin-1")


# --- on a terminal --------------------------------------------------------------------------------------------


def on_a_terminal(arguments: list[str], **environ: str) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        arguments, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", **environ}
    ) as running:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:  # EIO: the other end is closed
            pass
        assert running.wait(WAIT_SECONDS) == 0
    os.close(ours)
    return shown.decode()


def test_a_bar_over_several_files_on_a_terminal(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("rich")
    files = [wav(tmp_path, f"{n}.wav", n + 1) for n in range(3)]
    shown = on_a_terminal(command(path, "transcribe", *files), COLUMNS="200")
    for n, file in enumerate(files):
        assert f"{file}: {n + 1} samples" in shown
    assert "/3" in shown and "\x1b[2m" in shown, "the bar, and a dim remark"


def test_a_terminal_without_rich(path: Path, tmp_path: Path) -> None:
    (tmp_path / "none" / "rich").mkdir(parents=True)
    (tmp_path / "none" / "rich" / "__init__.py").write_text("raise ImportError('not on the target')")
    files = [wav(tmp_path, "a.wav", 5), wav(tmp_path, "b.wav", 6)]
    shown = on_a_terminal(command(path, "transcribe", *files), PYTHONPATH=before_others(tmp_path / "none"))
    assert f"{files[1]}: 6 samples" in shown and "x real time" in shown and "\x1b" not in shown


def test_a_long_recording_tells_how_far_it_is_without_rich(path: Path, tmp_path: Path) -> None:
    (tmp_path / "none" / "rich").mkdir(parents=True)
    (tmp_path / "none" / "rich" / "__init__.py").write_text("raise ImportError('not on the target')")
    files = [wav(tmp_path, "short.wav", 5), wav(tmp_path, "long.wav", 5 * 16_000)]
    shown = on_a_terminal(command(path, "transcribe", *files), PYTHONPATH=before_others(tmp_path / "none"))
    assert "2 of 2, 0:04 of 0:05" in shown
    _, _, last = shown.rpartition("\x1b[J")
    assert last.strip("\r\n\x1b[?25h").startswith(f"{files[1]}: "), "the line is gone when the text comes"


def test_a_long_recording_moves_the_bar() -> None:
    pytest.importorskip("rich")
    shown = cli_progress._Rich(2, False)
    shown.begin("a.wav")
    shown.advance(0.0, 100.0)  # it is answered at once
    task = shown.bar.tasks[0]
    assert (task.completed, task.description) == (0, "a.wav")
    shown.begin("b\x1b.wav")
    shown.advance(90.0, 360.0)
    assert (task.completed, task.description) == (1.25, "1:30 of 6:00 b\\x1b.wav")
    shown.advance(3600.0, None)
    assert (task.completed, task.description) == (1.0, "1:00:00 b\\x1b.wav")
    assert task.visible and task.total == 2


def test_a_bar_for_one_recording_only_where_it_is_long() -> None:
    pytest.importorskip("rich")
    shown = cli_progress._Rich(1, False)
    shown.begin("a.wav")
    shown.advance(0.0, 120.0)
    assert not shown.bar.tasks[0].visible
    shown.advance(0.0, 121.0)
    assert shown.bar.tasks[0].visible


def test_rich_is_not_loaded_in_a_pipe(path: Path, tmp_path: Path) -> None:
    (tmp_path / "none" / "rich").mkdir(parents=True)
    (tmp_path / "none" / "rich" / "__init__.py").write_text("raise SystemExit('loaded')")
    done = subprocess.run(
        command(path, "transcribe", wav(tmp_path)),
        env={**os.environ, "PYTHONPATH": before_others(tmp_path / "none")},
        capture_output=True,
        timeout=WAIT_SECONDS,
        check=True,
    )
    assert done.stdout == b"1000 samples\n"


# --- questions ------------------------------------------------------------------------------------------------


def test_status(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--socket", str(path), "status"]) == cli.OK
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["state"] == "idle" and shown["model"] == "fake" and shown["queue"] == "0"
    # The socket may also stand behind the command.
    assert cli.main(["status", "--json", "--socket", str(path)]) == cli.OK
    assert json.loads(capsys.readouterr().out)["state"] == "idle"


def test_describe(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--socket", str(path), "describe"]) == cli.OK
    pretty = capsys.readouterr().out
    assert cli.main(["--socket", str(path), "describe", "--json"]) == cli.OK
    line = capsys.readouterr().out
    assert json.loads(pretty) == json.loads(line) and line.count("\n") == 1 < pretty.count("\n")
    assert json.loads(line)["asr"][0]["name"] == "whisperd"


def test_models_with_languages_and_licence(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--socket", str(path), "models"]) == cli.OK
    out = capsys.readouterr().out
    assert out.startswith("fake: ") and "licence MIT" in out and "2 languages: en de" in out
    assert cli.main(["--socket", str(path), "models", "--json"]) == cli.OK
    (model,) = json.loads(capsys.readouterr().out)
    assert model["languages"] == ["en", "de"]


# --- usage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["transcribe"], ["transcribe", "--task", "sing", "a"], ["stat"], ["status", "--jso"], ["-x"]),
        *(["listen", "mic"], ["listen", "--device", "a", "--file", "b"], ["listen", "--sensitivity", "high"]),
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == cli.USAGE
    assert capsys.readouterr().err.startswith("usage: whisperctl")


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for part in (
        "examples:",
        "transcribe",
        "listen",
        "devices",
        "status",
        "describe",
        "models",
        "exit codes:",
        "$WHISPERD_SOCKET_PATH",
    ):
        assert part in shown
    for code in (cli.OK, cli.FAILED, cli.USAGE, cli.UNREACHABLE, cli.INTERRUPTED):
        assert f"{code} " in shown[shown.index("exit codes:") :]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"whisperctl {__version__}\n"


def test_nothing_heavy_is_loaded_for_a_question(path: Path) -> None:
    script = "import sys; from whisperd import cli; cli.main(sys.argv[1:]); print(*sys.modules, sep=',')"
    done = subprocess.run(
        [sys.executable, "-c", script, "--socket", str(path), "status"],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split(","))
    assert "whisperd.client" in loaded
    assert not loaded & {"numpy", "onnxruntime", "soundfile", "rich", "asyncio", "termios", "whisperd.cli_listen"}


def test_which_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(cli.DEFAULT_SOCKET) == Config().socket.path
    asked = ["status"]
    assert cli._parser().parse_args(asked).socket == cli.DEFAULT_SOCKET
    monkeypatch.setenv("WHISPERD_SOCKET_PATH", "/from%environment")
    assert cli._parser().parse_args(asked).socket == "/from%environment"
    assert "/from%environment" in cli._parser().format_help()
    assert cli._parser().parse_args(["--socket", "/flag", *asked]).socket == "/flag"


# --- how it ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["status"], ["describe"], ["models"], ["transcribe", "a.wav"]])
def test_no_daemon(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--socket", str(tmp_path / "s"), *arguments]) == cli.UNREACHABLE
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("whisperctl: whisperd is not running") and err.count("\n") == 1


def test_a_daemon_that_dies_in_the_middle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hello = b'{"type": "hello", "data": {"limits": {}}}\n'
    files = [wav(tmp_path, "a.wav"), wav(tmp_path, "b.wav")]
    with fake_daemon.peer(tmp_path / "s", hello):
        assert cli.main(["--socket", str(tmp_path / "s"), "transcribe", "--json", *files]) == cli.UNREACHABLE
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert first.startswith(f"whisperctl: {files[0]}: ") and second.startswith(
        "whisperctl: whisperd is not running"
    )
    assert json.loads(out)["error"]["code"] == "connection-lost"


@pytest.mark.parametrize("files", [1, 3])
def test_ctrl_c_cancels_and_says_so_in_one_line(
    path: Path, tmp_path: Path, engine: FakeEngine, files: int
) -> None:
    engine.hold.clear()
    with subprocess.Popen(
        command(path, "transcribe", *[wav(tmp_path)] * files), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert engine.running.wait(WAIT_SECONDS)
        time.sleep(0.1)  # from sending to waiting
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=WAIT_SECONDS)
    assert running.returncode == cli.INTERRUPTED
    assert (out, err) == (b"", b"whisperctl: interrupted\n")
    # The daemon works on for nobody: held as it is, it is idle only because it was told.
    from whisperd.client import Client

    with Client(path) as client:
        end = time.monotonic() + WAIT_SECONDS
        while client.status()["running"]:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_reader_that_has_enough(path: Path, tmp_path: Path) -> None:
    files = [wav(tmp_path)] * 50
    with subprocess.Popen(
        command(path, "transcribe", "--json", *files), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(WAIT_SECONDS) == cli.OK


def test_a_reader_that_is_gone_before_the_first_word(path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as stdout:
        done = subprocess.run(
            command(path, "status"), stdout=stdout, stderr=subprocess.PIPE, timeout=WAIT_SECONDS, check=False
        )
    assert (done.returncode, done.stderr) == (cli.OK, b"")


def test_no_slot_is_free(tmp_path: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        serve(tmp_path / "s", engine, Limits(max_connections=1)),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other,
    ):
        other.connect(str(tmp_path / "s"))
        assert cli.main(["--socket", str(tmp_path / "s"), "status"]) == cli.FAILED
    assert capsys.readouterr().err == "whisperctl: 1 connections are open already\n"


def test_streams_that_are_no_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stdout: Any = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    assert cli.main(["--socket", str(path), "status", "--json"]) == cli.OK
    assert json.loads(stdout.getvalue())["state"] == "idle"
