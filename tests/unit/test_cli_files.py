"""whisperctl transcribe --output-format: which files are written, and that none is lost or half there."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import srt as srt_reader
import webvtt
from fake_daemon import WAIT_SECONDS, FakeEngine, serve
from test_cli import command, wav
from whisperd import cli, cli_files
from whisperd.cli_files import FORMATS, SUFFIXES, formats_of, write
from whisperd.client import Transcript
from whisperd.config import Limits
from whisperd.speech.options import Options
from whisperd.speech.types import Transcription
from whisperd.subtitles import Shape


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def path(tmp_path: Path, engine: FakeEngine) -> Iterator[Path]:
    with serve(tmp_path / "s", engine, Limits(max_clip_seconds=2.0)):
        yield tmp_path / "s"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Recordings a.wav, sub/a.wav and sub/deep/b.WAV, and what is none."""
    top = tmp_path / "tree"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / ".hidden").mkdir()
    wav(top, "a.wav", 100)
    wav(top / "sub", "a.wav", 200)
    wav(top / "sub" / "deep", "b.WAV", 300)
    wav(top / ".hidden", "c.wav", 400)
    wav(top, ".d.wav", 500)
    (top / "notes.txt").write_text("mine")
    return top


def files(top: Path) -> set[str]:
    return {str(p.relative_to(top)) for p in top.rglob("*") if p.is_file()}


def run(path: Path, *arguments: object) -> int:
    return cli.main(["--socket", str(path), "transcribe", *map(str, arguments)])


# --- formats ----------------------------------------------------------------------------------------------


def test_all_formats_beside_the_recording(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = wav(tmp_path, "talk.v2.wav", 16_000)
    assert run(path, "-f", "all", file) == cli.OK
    out, err = capsys.readouterr()
    base = tmp_path / "talk.v2"
    assert (tmp_path / "talk.v2.txt").read_text() == "16000 samples\n"
    assert (tmp_path / "talk.v2.tsv").read_text() == "start\tend\ttext\n0\t1000\t16000 samples\n"
    (cue,) = srt_reader.parse((tmp_path / "talk.v2.srt").read_text())
    assert (cue.start.total_seconds(), cue.end.total_seconds(), cue.content) == (0.0, 1.0, "16000 samples")
    (caption,) = webvtt.read(str(base) + ".vtt")
    assert (caption.start, caption.end, caption.text) == ("00:00:00.000", "00:00:01.000", "16000 samples")
    assert (tmp_path / "talk.v2.lrc").read_text() == "[00:00.00]16000 samples\n"
    told = json.loads((tmp_path / "talk.v2.json").read_text())
    assert told["file"] == file and told["text"] == "16000 samples" and told["segments"][0]["end"] == 1.0
    assert out == ""
    first, last = err.splitlines()
    assert first.startswith(
        f"{file} -> {base}.srt, {base}.vtt, {base}.lrc, {base}.tsv, {base}.txt, {base}.json: 1.0 s of audio"
    )
    assert last == "1 recording: 1 transcribed"


def test_formats() -> None:
    assert formats_of("srt") == ("srt",)
    assert formats_of("TXT, srt,srt") == ("srt", "txt")
    assert formats_of("all") == FORMATS == formats_of("srt,all")
    for wrong in ("", "doc", "srt,", "srt;vtt"):
        with pytest.raises(ValueError, match="is none of srt, vtt, lrc, tsv, txt, json, all"):
            formats_of(wrong)


@pytest.mark.parametrize(
    ("flags", "shape"),
    [
        (["--max-line-width", "10"], Shape(columns=10)),
        (["--max-line-count", "20"], Shape(lines=20)),
        (["--max-words-per-line", "1"], Shape(words=1)),
        (["--highlight-words"], Shape(highlight=True)),
    ],
)
def test_how_subtitles_are_shown(
    path: Path, tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, flags: list[str], shape: Shape
) -> None:
    file, shapes = wav(tmp_path), []
    shaped = {"srt": lambda cues, shape: shapes.append(shape) or "x\n"}
    monkeypatch.setattr(cli_files, "SHAPED", shaped)
    assert run(path, "-f", "srt,txt", *flags, file) == cli.OK
    assert shapes == [shape]
    assert engine.heard[-1][1].word_timestamps, "cues are cut between words"
    assert (Path(file).with_suffix(".srt").read_text(), Path(file).with_suffix(".txt").exists()) == ("x\n", True)
    assert run(path, "-f", "srt", "--overwrite", file) == cli.OK
    assert shapes[1:] == [Shape()] and not engine.heard[-1][1].word_timestamps


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ["-f", "srt", "--max-line-width", "9"],
            "argument --max-line-width: must be a whole number, 10 to 1000, not '9'",
        ),
        (["-f", "srt", "--max-line-width", "1001"], "10 to 1000, not '1001'"),
        (["-f", "srt", "--max-line-count", "0"], "argument --max-line-count: must be a whole number, 1 to 20"),
        (["-f", "srt", "--max-line-count", "21"], "1 to 20, not '21'"),
        (["-f", "srt", "--max-words-per-line", "two"], "argument --max-words-per-line: must be a whole number"),
        (["-f", "srt", "--max-words-per-line", "1" * 30], "1 to 1000"),
        (["-f", "txt", "--highlight-words"], "subtitles are shown otherwise only in srt and vtt"),
        (["--max-line-count", "1"], "--output-format says which"),
    ],
)
def test_subtitles_that_cannot_be_so(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    try:
        code = run(path, *flags, wav(tmp_path))
    except SystemExit as left:
        code = left.code
    assert code == cli.USAGE
    assert says in capsys.readouterr().err


def test_times_of_segments_are_asked_for_where_a_file_shows_them(
    path: Path, tmp_path: Path, engine: FakeEngine
) -> None:
    file = wav(tmp_path)
    for flags in (["-f", "txt"], ["-f", "srt"], ["-f", "vtt", "--without-timestamps"]):
        assert run(path, *flags, file) == cli.OK
    assert [options.without_timestamps for _, options in engine.heard] == [None, False, True]


def test_long_recordings_have_one_file(path: Path, tmp_path: Path, engine: FakeEngine) -> None:
    file = wav(tmp_path, "long.wav", 5 * 16_000)
    assert run(path, "-f", "srt", file) == cli.OK
    cues = list(srt_reader.parse((tmp_path / "long.srt").read_text()))
    assert len(cues) == len(engine.heard) >= 3
    assert cues[-1].end.total_seconds() == 5.0


def test_an_answer_without_segments_is_one_cue() -> None:
    answer = Transcript("All of it.", "en", 2.5, {"text": "All of it."})
    assert cli_files.content("a", "srt", answer) == "1\n00:00:00,000 --> 00:00:02,500\nAll of it.\n"
    silence = Transcript("", None, 2.5, {"text": "", "no_speech": "silence"})
    assert cli_files.content("a", "vtt", silence) == "WEBVTT\n"


# --- folders ----------------------------------------------------------------------------------------------


def test_a_folder(path: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(tree)
    assert run(path, "-f", "srt", tree) == cli.OK
    assert files(tree) - before == {"a.srt"}
    assert capsys.readouterr().err.splitlines()[-1] == (
        "1 recording: 1 transcribed; 2 other files left out; 1 folder not looked into (-r does)"
    )


def test_folders_of_folders(path: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(tree)
    assert run(path, "-f", "srt,txt", "-r", tree) == cli.OK
    new = {f"{name}.{form}" for name in ("a", "sub/a", "sub/deep/b") for form in ("srt", "txt")}
    assert files(tree) - before == new
    assert (tree / "sub" / "deep" / "b.txt").read_text() == "300 samples\n"
    assert (tree / "notes.txt").read_text() == "mine"
    assert capsys.readouterr().err.splitlines()[-1] == "3 recordings: 3 transcribed; 2 other files left out"


def test_another_folder_keeps_the_tree(path: Path, tree: Path, tmp_path: Path) -> None:
    before = files(tree)
    assert run(path, "-f", "txt", "-o", tmp_path / "out" / "texts", "-r", tree, wav(tmp_path, "z.wav")) == cli.OK
    assert files(tmp_path / "out" / "texts") == {"a.txt", "sub/a.txt", "sub/deep/b.txt", "z.txt"}
    assert files(tree) == before


def test_a_folder_as_text(path: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "-r", tree) == cli.OK
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{tree}/a.wav: 100 samples",
        f"{tree}/sub/a.wav: 200 samples",
        f"{tree}/sub/deep/b.WAV: 300 samples",
    ]
    assert err.splitlines()[-1] == "3 recordings: 3 transcribed; 2 other files left out"


def test_a_folder_without_recordings_has_failed(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none" / "below").mkdir(parents=True)
    assert run(path, tmp_path / "none") == cli.FAILED
    assert capsys.readouterr().err == "0 recordings: 0 transcribed; 1 folder not looked into (-r does)\n"


def test_a_folder_that_cannot_be_read(unprivileged: Path) -> None:
    (unprivileged / "closed").mkdir()
    wav(unprivileged, "a.wav", 10)
    (unprivileged / "closed").chmod(0)
    found = cli_files.find([str(unprivileged)], recursive=True)
    assert [r.name for r in found.recordings] == [str(unprivileged / "a.wav")]
    assert [(p.errno, p.filename) for p in found.problems] == [(errno.EACCES, str(unprivileged / "closed"))]


def test_endings_of_recordings_are_those_that_are_read() -> None:
    import soundfile

    known = {name.lower() for name in soundfile.available_formats()} | {"mp3"}
    for suffix, form in {".wav": "wav", ".flac": "flac", ".ogg": "ogg", ".mp3": "mp3", ".aiff": "aiff"}.items():
        assert suffix in SUFFIXES and form in known
    assert not SUFFIXES & {".txt", ".srt", ".json", ".jpg", ".mp4", ""}


# --- what is there already --------------------------------------------------------------------------------


def test_what_is_there_is_kept_and_only_the_rest_is_done(
    path: Path, tree: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "a.srt").write_text("mine")
    (tree / "sub" / "a.txt").write_text("mine too")
    assert run(path, "-f", "srt,txt", "-r", tree) == cli.OK
    assert ((tree / "a.srt").read_text(), (tree / "sub" / "a.txt").read_text()) == ("mine", "mine too")
    assert (tree / "a.txt").read_text() == "100 samples\n"
    assert run(path, "-f", "srt,txt", "-r", tree) == cli.OK
    assert len(engine.heard) == 3, "the second time there was nothing to do"
    assert capsys.readouterr().err.splitlines()[-1] == (
        "3 recordings: 0 transcribed, 3 there already (--overwrite writes them anew); 2 other files left out"
    )
    assert run(path, "-f", "srt,txt", "-r", "--overwrite", tree) == cli.OK
    assert "100 samples" in (tree / "a.srt").read_text() and len(engine.heard) == 6


@pytest.mark.parametrize(
    ("names", "flags"),
    [
        (["a.wav", "a.flac"], []),
        (["x/a.wav", "y/a.wav"], ["-o", "out"]),
        (["x", "y"], ["-o", "out"]),
        (["a.wav", "a.srt"], []),  # a recording of a strange name would be overwritten
        (["a.srt"], ["--overwrite"]),
    ],
)
def test_conflicts_are_found_before_work_begins(
    names: list[str],
    flags: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "a.flac", "a.srt", "x/a.wav", "y/a.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        wav(tmp_path, name)
    before = files(tmp_path)
    # Not even the daemon is looked for.
    assert run(tmp_path / "nobody", "-f", "srt", *flags, *names) == cli.USAGE
    err = capsys.readouterr().err
    assert "would be of" in err and "nothing was done" in err and err.count("\n") == 1
    assert files(tmp_path) == before


def test_a_recording_that_is_named_twice_is_done_once(path: Path, tree: Path, engine: FakeEngine) -> None:
    assert run(path, "-f", "srt", tree, tree / "a.wav", tree / "sub" / ".." / "a.wav") == cli.OK
    assert len(engine.heard) == 1


@pytest.mark.parametrize(
    "flags", [["--json", "-f", "srt"], ["-o", "out"], ["--overwrite"], ["-f", "doc"], ["-f", ""]]
)
def test_wrong_usage(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = run(tmp_path / "nobody", *flags, "a.wav")
    except SystemExit as ended:
        code = ended.code
    assert code == cli.USAGE and "whisperctl" in capsys.readouterr().err


# --- failures ---------------------------------------------------------------------------------------------


def test_one_that_fails_does_not_stop_the_rest(path: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "b.wav").write_text("no audio")
    assert run(path, "-f", "srt", tree, tree / "absent.wav") == cli.FAILED
    assert (tree / "a.srt").exists() and not (tree / "b.srt").exists()
    err = capsys.readouterr().err.splitlines()
    assert err[-1] == (
        "3 recordings: 1 transcribed, 2 failed; 2 other files left out; 1 folder not looked into (-r does)"
    )
    assert [line for line in err if line.startswith("whisperctl: ")] == [
        f"whisperctl: {tree}/b.wav cannot be decoded: Format not recognised.",
        f"whisperctl: {tree}/absent.wav: No such file or directory",
    ]


def test_where_nothing_can_be_written_nothing_is_transcribed(
    path: Path, tmp_path: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.srt").mkdir()
    assert run(path, "-f", "srt", "--overwrite", wav(tmp_path)) == cli.FAILED
    (tmp_path / "file").write_text("")
    assert run(path, "-f", "srt", "-o", tmp_path / "file", wav(tmp_path)) == cli.FAILED
    assert engine.heard == []
    err = capsys.readouterr().err
    assert "a.srt: Is a directory" in err and f"{tmp_path}/file" in err


def test_a_folder_of_another_user(unprivileged: Path) -> None:
    recording = cli_files.Recording("a.wav", Path("a.wav"), (("srt", Path("/usr/a.srt")),))
    with pytest.raises(PermissionError) as refused:
        cli_files.missing(recording, overwrite=False)
    assert refused.value.filename == "/usr"


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.srt"
    target.write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as failed:
        write(target, "after")
    assert failed.value.filename == str(target)
    assert target.read_text() == "before" and files(tmp_path) == {"a.srt"}


def test_what_is_written_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "a.srt", "ä\nb\n")
    finally:
        os.umask(before)
    assert (tmp_path / "a.srt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a.srt").read_bytes() == "ä\nb\n".encode()


class _HeldAtTheSecond(FakeEngine):
    def transcribe(self, pcm: Any, options: Options, control: Any) -> Transcription:
        if self.heard:
            self.hold.clear()
        return super().transcribe(pcm, options, control)


def test_ctrl_c_keeps_what_is_done(tmp_path: Path, tree: Path) -> None:
    engine = _HeldAtTheSecond()
    with (
        serve(tmp_path / "s", engine),
        subprocess.Popen(
            command(tmp_path / "s", "transcribe", "-f", "srt", "-r", str(tree)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as running,
    ):
        end = time.monotonic() + 4 * WAIT_SECONDS  # a command's start is slow on a busy PC
        while len(engine.heard) < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=WAIT_SECONDS)
    assert running.returncode == cli.INTERRUPTED
    assert out == b""
    assert err.splitlines()[1:] == [
        b"3 recordings: 1 transcribed, 2 not done; 2 other files left out",
        b"whisperctl: interrupted",
    ]
    assert (tree / "a.srt").read_text().startswith("1\n00:00:00,000")
    assert not any(name.endswith((".part", "sub/a.srt", "b.srt")) for name in files(tree))


def test_standard_input_has_a_name(path: Path, tmp_path: Path) -> None:
    with open(wav(tmp_path), "rb") as stdin:
        subprocess.run(
            command(path, "transcribe", "-f", "txt", "-o", str(tmp_path / "out"), "-"),
            stdin=stdin,
            stderr=subprocess.PIPE,
            timeout=WAIT_SECONDS,
            check=True,
        )
    assert (tmp_path / "out" / "stdin.txt").read_text() == "1000 samples\n"


def test_a_name_that_is_not_utf_8(path: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.wav"
    os.rename(wav(tmp_path), name)
    done = subprocess.run(
        [sys.executable, *command(path, "transcribe", "-f", "json,srt")[1:], name],
        stderr=subprocess.PIPE,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert done.returncode == cli.OK, done.stderr
    with open(os.fsencode(tmp_path) + b"/\xff.json", encoding="utf-8") as file:
        assert json.load(file)["text"] == "1000 samples"
