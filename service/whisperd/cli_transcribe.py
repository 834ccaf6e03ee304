"""`whisperctl transcribe`: recordings of any length, one after the other, as text, JSON or files."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from whisperd.audio.files import MAX_BYTES, Source
from whisperd.cli_files import (
    ALL,
    FORMATS,
    STDIN,
    Conflict,
    Recording,
    content,
    find,
    formats_of,
    missing,
    plan,
    write,
)
from whisperd.cli_options import COMMON, add_options, chosen
from whisperd.cli_output import FAILED, OK, USAGE, complain
from whisperd.cli_progress import Progress, progress
from whisperd.client import Client, ClientError, Transcript
from whisperd.errors import WhisperdError
from whisperd.recording import transcribe_recording
from whisperd.speech.options import CHOICES
from whisperd.subtitles import SHAPE, SHAPED, Shape

#: For the daemon to confirm that it has stopped working for us.
CANCEL_SECONDS = 2.0

FILES = f"WAV, FLAC, OGG, MP3 …, of any length; - for standard input, of at most {MAX_BYTES >> 20} MiB"


@dataclass(frozen=True)
class CueNumber:
    """A number that says how cues are shown."""

    help: str
    least: int
    most: int


CUE_NUMBERS = {
    "--max-line-width": CueNumber(f"columns of a line; default: {SHAPE.columns}", 10, 1000),
    "--max-line-count": CueNumber(f"lines of a cue; default: {SHAPE.lines}", 1, 20),
    "--max-words-per-line": CueNumber("words of a cue; default: as many as fit", 1, 1000),
}

EPILOG = """\
examples:
  whisperctl transcribe recording.wav
  whisperctl transcribe --language auto lecture.mp3          any length: an hour takes no more memory than a minute
  whisperctl transcribe --hotwords "Anna Müller,Zoo" a.wav   words that are likely to come
  whisperctl transcribe --grammar @orders.gbnf a.wav         nothing but what the grammar has (docs/decoding.md)
  whisperctl transcribe --json --word-timestamps a.wav | jq '.segments[].words[]'
  whisperctl transcribe --output-format srt film.flac        writes film.srt, beside the recording
  whisperctl transcribe -f srt,txt -o texts -r recordings/   a whole folder; again after Ctrl-C, it goes on
  whisperctl transcribe -f vtt --word-timestamps talk.ogg    short cues that come with their words
  whisperctl transcribe -f srt --highlight-words song.mp3    each word underlined while it is said
  whisperctl transcribe --task translate --beam-size 5 german.wav
  ffmpeg -i film.mkv -ar 16000 -ac 1 -f wav - | whisperctl transcribe -

Of a folder, what is named as a recording is transcribed: wav, flac, ogg, opus, mp3, aiff …
A value that begins with - follows a =, as in --suppress-tokens=-1,220. Nothing is written in halves. With
--output-format, what became of the files is told on stderr, and stdout is empty.

exit codes: 0 done, 1 a file failed, 2 wrong usage, 3 the daemon cannot be reached, 130 Ctrl-C
"""


def fill(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "whisperctl transcribe [OPTION …] FILE|FOLDER …"
    parser.epilog = EPILOG
    parser.add_argument("files", metavar="FILE|FOLDER", nargs="+", help=FILES)
    add_options(parser, COMMON)
    parser.add_argument("--json", action="store_true", help="print a JSON object for each file, a line each")
    files = parser.add_argument_group("output files")
    files.add_argument(
        "-f",
        "--output-format",
        metavar="FORMAT,…",
        type=_formats,
        help=f"write files: {', '.join(FORMATS)} or {ALL}; beside the recordings, if there is no --output-dir",
    )
    files.add_argument("-o", "--output-dir", metavar="DIR", type=Path, help="write them there")
    files.add_argument("--overwrite", action="store_true", help="write files anew that are there already")
    files.add_argument("-r", "--recursive", action="store_true", help="look into folders of folders as well")
    cues = parser.add_argument_group(
        "subtitles", "Of srt and vtt. Words are given times for these; a cue is then cut where its words allow it."
    )
    for flag, what in CUE_NUMBERS.items():
        cues.add_argument(
            flag,
            metavar="N",
            type=_counted_in(what.least, what.most),
            help=f"{what.help}; {what.least} to {what.most}",
        )
    cues.add_argument("--highlight-words", action="store_true", help="underline each word while it is said")
    add_options(
        parser.add_argument_group("decoding options", 'Named as in faster-whisper. "none" turns a threshold off.'),
        CHOICES.keys() - set(COMMON),
    )


def _counted_in(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not least <= int(text[:9]) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number, {least} to {most}, not {text!r}")
        return int(text)

    return read


def _shape(arguments: argparse.Namespace) -> Shape:
    """How cues are to be shown."""
    return Shape(
        columns=arguments.max_line_width or SHAPE.columns,
        lines=arguments.max_line_count or SHAPE.lines,
        words=arguments.max_words_per_line or SHAPE.words,
        highlight=arguments.highlight_words,
    )


def _formats(text: str) -> tuple[str, ...]:
    try:
        return formats_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(arguments: argparse.Namespace) -> int:
    """Transcribe them all; one that fails does not stop the rest. Returns the exit code."""
    formats = arguments.output_format
    if formats and arguments.json:
        return _usage("--json prints, --output-format json writes files: choose one")
    if not formats and (arguments.output_dir or arguments.overwrite):
        return _usage("--output-dir and --overwrite are about files: --output-format says which")
    if _shape(arguments) != SHAPE and not set(formats or ()) & set(SHAPED):
        return _usage("subtitles are shown otherwise only in srt and vtt: --output-format says which")
    found = find(arguments.files, recursive=arguments.recursive)
    recordings = found.recordings
    if formats:
        try:
            recordings = plan(recordings, formats, arguments.output_dir)
        except Conflict as error:
            return _usage(f"{error}: rename one, or transcribe them apart with --output-dir; nothing was done")
    with Client(arguments.socket) as client, progress(len(recordings), arguments.json) as shown:
        batch = _Batch(client, arguments, shown, len(recordings))
        for problem in found.problems:
            batch.fail(str(problem.filename), problem)
        written = {path for recording in recordings for _, path in recording.outputs}
        others = len([path for path in found.others if path not in written])
        try:
            for recording in recordings:
                batch.take(recording)
        finally:
            if formats or others or found.folders or not recordings:
                shown.remark(batch.summary(others, found.folders))
    return FAILED if batch.failed or not recordings else OK


def _usage(text: str) -> int:
    complain(text)
    return USAGE


class _Batch:
    """Recordings, one after the other, and what became of them."""

    def __init__(self, client: Client, arguments: argparse.Namespace, shown: Progress, count: int) -> None:
        self._client = client
        self._arguments = arguments
        self._shown = shown
        self._count = count
        self._options = chosen(arguments)
        if arguments.output_format and set(arguments.output_format) != {"txt"}:
            self._options.setdefault("without_timestamps", False)  # of short clips as well
        self._shape = _shape(arguments)
        if self._shape != SHAPE:
            self._options.setdefault("word_timestamps", True)
        self._ended = 0  # of the count, in whatever way
        self.done = self.failed = self.kept = 0

    def take(self, recording: Recording) -> None:
        """Transcribe one."""
        self._shown.begin(recording.name)
        try:
            wanted = missing(recording, overwrite=self._arguments.overwrite)
        except OSError as error:
            self.fail(recording.name, error)
        else:
            if recording.outputs and not wanted:
                self.kept += 1
            else:
                # An error may have ended the connection, and that is this far and no further.
                self._client.connect()
                self._work(recording, wanted)
        self._ended += 1

    def fail(self, name: str, error: Exception) -> None:
        """Tell of one that has failed."""
        self.failed += 1
        self._shown.complain(name, error)

    def summary(self, others: int, folders: int) -> str:
        """What became of them all."""
        left = self._count - self._ended
        parts = [f"{self.done} transcribed"]
        parts += [f"{self.kept} there already (--overwrite writes them anew)"] * bool(self.kept)
        parts += [f"{self.failed} failed"] * bool(self.failed)
        parts += [f"{left} not done"] * bool(left)
        told = f"{_counted(self._count, 'recording')}: {', '.join(parts)}"
        if others:
            told += f"; {_counted(others, 'other file')} left out"
        if folders:
            told += f"; {_counted(folders, 'folder')} not looked into (-r does)"
        return told

    def _work(self, recording: Recording, wanted: list[tuple[str, Path]]) -> None:
        try:
            answer, seconds = self._transcribe(recording.name)
            for form, path in wanted:
                write(path, content(recording.name, form, answer, self._shape))
        except (WhisperdError, ClientError, OSError) as error:
            self.fail(recording.name, error)
            if isinstance(error, ClientError):
                self._client.close()
            return
        self.done += 1
        if wanted:
            self._shown.written(recording.name, [str(path) for _, path in wanted], answer, seconds)
        else:
            self._shown.show(recording.name, answer, seconds, many=self._count > 1)

    def _transcribe(self, name: str) -> tuple[Transcript, float]:
        begun = time.monotonic()
        try:
            answer = transcribe_recording(
                self._client,
                _source(name),
                options=self._options,
                on_queued=self._shown.queued,
                on_progress=self._shown.advance,
            )
        except KeyboardInterrupt:
            _cancel(self._client)
            raise
        return answer, time.monotonic() - begun


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _source(name: str) -> Source:
    return sys.stdin.buffer if name == STDIN else name


def _cancel(client: Client) -> None:
    """Tell the daemon not to go on. Closing the connection does the same; this makes sure that it has."""
    with contextlib.suppress(ClientError, KeyboardInterrupt):
        client.cancel(timeout=CANCEL_SECONDS)
