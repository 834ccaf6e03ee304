"""whisperctl: transcribe files and look at the daemon, from a terminal or a script.

Text goes to stdout, everything about it to stderr, so that a pipe gets words and nothing else. Colour and a
progress bar come from `rich` where it is installed and the output is a terminal; the target does without.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from whisperd import __version__
from whisperd.client import Client, ClientError, Transcript, Unreachable
from whisperd.errors import WhisperdError

if TYPE_CHECKING:
    from whisperd.speech.types import Int16Samples

DEFAULT_SOCKET = "/run/whisperd/whisperd.sock"
OK, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130
#: For the daemon to confirm that it has stopped working for us.
CANCEL_SECONDS = 2.0

EPILOG = """\
examples:
  whisperctl transcribe recording.wav
  whisperctl transcribe --language de *.mp3 > texts.txt
  whisperctl transcribe --json interview.flac | jq .segments
  arecord -d 5 -f S16_LE -r 16000 | whisperctl transcribe -
  whisperctl --socket /tmp/whisperd.sock status

The socket is, in this order: --socket, $WHISPERD_SOCKET_PATH, /run/whisperd/whisperd.sock.

exit codes: 0 done, 1 a file or the request failed, 2 wrong usage, 3 the daemon cannot be reached, 130 Ctrl-C
With --json, a file that failed has an object with "error" ("code", "text", "retry"); its text is on stderr too.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that is not UTF-8 shows a question mark; a transcript is not lost for one letter.
            stream.reconfigure(errors="replace")
    try:
        code = int(arguments.command(arguments))
        sys.stdout.flush()  # here, where a closed pipe is expected, and not when Python ends
        return code
    except Unreachable as error:
        _complain(error.text)
        return UNREACHABLE
    except ClientError as error:
        _complain(error.text)
        return FAILED
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whisperctl",
        description="Talk to whisperd, the offline speech recognition daemon.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    socket = os.environ.get("WHISPERD_SOCKET_PATH") or DEFAULT_SOCKET
    shown = socket.replace("%", "%%")
    parser.add_argument("--socket", metavar="PATH", default=socket, help=f"the daemon's socket; default: {shown}")
    parser.add_argument("--version", action="version", version=f"whisperctl {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    transcribe = commands.add_parser("transcribe", help="print what is said in audio files", allow_abbrev=False)
    transcribe.set_defaults(command=_transcribe)
    transcribe.add_argument("files", metavar="FILE", nargs="+", help="WAV, FLAC, OGG, MP3 …; - for standard input")
    transcribe.add_argument("--language", metavar="CODE", help='such as en or de; "auto" detects it')
    transcribe.add_argument("--task", choices=("transcribe", "translate"), help="translate: into English")
    _add_json(transcribe, "a JSON object for each file, a line each")

    status = commands.add_parser("status", help="what the daemon is doing", allow_abbrev=False)
    status.set_defaults(command=_status)
    _add_json(status, "as JSON")
    describe = commands.add_parser("describe", help="what the daemon can do (Wyoming's info)", allow_abbrev=False)
    describe.set_defaults(command=_describe)
    _add_json(describe, "as JSON on one line")
    models = commands.add_parser("models", help="the loaded model, its languages and licence", allow_abbrev=False)
    models.set_defaults(command=_models)
    _add_json(models, "as JSON")
    for command in (transcribe, status, describe, models):
        # Understood behind the command as well; without a default, which would override the one before it.
        command.add_argument("--socket", metavar="PATH", default=argparse.SUPPRESS, help="as before the command")
    return parser


def _add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what}")


# --- transcribe -------------------------------------------------------------------------------------------


def _transcribe(arguments: argparse.Namespace) -> int:
    """One file after the other; one that fails does not stop the rest."""
    result, many = OK, len(arguments.files) > 1
    with Client(arguments.socket) as client, _progress(len(arguments.files), arguments.json) as progress:
        for name in arguments.files:
            progress.begin(name)
            client.connect()  # an error may have ended the connection, and that is this far and no further
            try:
                answer, seconds = _one(client, name, arguments, progress)
            except KeyboardInterrupt:
                _cancel(client)
                raise
            except (WhisperdError, ClientError, OSError) as error:
                result = FAILED
                progress.complain(name, error)
                if isinstance(error, ClientError):
                    client.close()
            else:
                progress.show(name, answer, seconds, many=many)
    return result


def _cancel(client: Client) -> None:
    """Tell the daemon not to go on. Closing the connection does the same; this makes sure that it has."""
    with contextlib.suppress(ClientError, KeyboardInterrupt):
        client.cancel(timeout=CANCEL_SECONDS)


def _one(
    client: Client, name: str, arguments: argparse.Namespace, progress: _Progress
) -> tuple[Transcript, float]:
    pcm = _read(name, client.max_clip_seconds)
    begun = time.monotonic()
    answer = client.transcribe(
        pcm, language=arguments.language, task=arguments.task, priority="file", on_queued=progress.queued
    )
    return answer, time.monotonic() - begun


def _read(name: str, limit: float) -> Int16Samples:
    from whisperd.audio.files import read_audio

    return read_audio(sys.stdin.buffer if name == "-" else name, limit)


class _Progress(Protocol):
    """How results and the way there are shown."""

    def begin(self, name: str) -> None: ...

    def queued(self, ahead: int) -> None: ...

    def show(self, name: str, answer: Transcript, seconds: float, *, many: bool) -> None: ...

    def complain(self, name: str, error: Exception) -> None: ...


class _Plain:
    """For pipes, files and the target: texts or JSON on stdout, how long it took and errors on stderr."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def begin(self, name: str) -> None:
        """Nothing: the result says it."""

    def queued(self, ahead: int) -> None:
        """Nothing: it is over when it is read."""

    def show(self, name: str, answer: Transcript, seconds: float, *, many: bool) -> None:
        """A file's text."""
        if self._as_json:
            _print_json({"file": name, **answer.data})
            return
        text = _printable(answer.text)
        print(f"{_printable(name)}: {text}" if many else text, flush=True)
        self.note(_timing(answer, seconds))

    def note(self, text: str) -> None:
        """A remark about a result."""
        print(text, file=sys.stderr)

    def complain(self, name: str, error: Exception) -> None:
        """An error that is about one file."""
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if self._as_json:
            code = getattr(error, "code", "connection-lost" if isinstance(error, Unreachable) else "bad-file")
            told = {"code": code, "text": text, "retry": getattr(error, "retry", False)}
            _print_json({"file": name, "error": told})
        _complain(text if name in text else f"{name}: {text}")


class _Rich(_Plain):
    """For a person at a terminal: a bar over several files, remarks that step back behind the text."""

    def __init__(self, total: int, as_json: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__(as_json)
        self._console = Console(stderr=True)
        self.bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=total == 1,
        )
        self._task = self.bar.add_task("", total=total)
        self._begun = 0

    def begin(self, name: str) -> None:
        """Advance the bar to this file."""
        self.bar.update(self._task, completed=self._begun, description=_printable(name))
        self._begun += 1

    def queued(self, ahead: int) -> None:
        """Say why nothing happens."""
        if ahead:
            self.note(f"{ahead} other request{'s' * (ahead != 1)} first")

    def note(self, text: str) -> None:
        """Dimmed."""
        self._console.print(text, style="dim", markup=False, highlight=False)


@contextlib.contextmanager
def _progress(total: int, as_json: bool) -> Iterator[_Progress]:
    if sys.stdout.isatty() and sys.stderr.isatty():
        try:
            shown = _Rich(total, as_json)
        except ImportError:
            pass
        else:
            with shown.bar:
                yield shown
            return
    yield _Plain(as_json)


def _timing(answer: Transcript, seconds: float) -> str:
    data = answer.data
    speed = answer.audio_seconds / seconds if seconds > 0 else 0.0
    parts = [f"{label} {data[key]:.0f} ms" for label, key in _PHASES if isinstance(data.get(key), (int, float))]
    return f"{answer.audio_seconds:.1f} s of audio in {seconds:.2f} s, {speed:.0f}x real time ({', '.join(parts)})"


_PHASES = (("queue", "queue_ms"), ("features", "features_ms"), ("encode", "encode_ms"), ("decode", "decode_ms"))


# --- questions --------------------------------------------------------------------------------------------


def _status(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        status = client.status()
    if arguments.json:
        _print_json(status)
    else:
        _print_fields(status)
    return OK


def _describe(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        info = client.describe()
    _print_json(info, indent=None if arguments.json else 2)
    return OK


def _models(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        info = client.describe()
    models = [model for program in info.get("asr", []) for model in program.get("models", [])]
    if arguments.json:
        _print_json(models)
        return OK
    for model in models:
        languages = model.get("languages", [])
        print(f"{model.get('name')}: {model.get('description')}")
        print(f"  {len(languages)} language{'s' * (len(languages) != 1)}: {' '.join(languages)}")
    return OK


def _print_fields(fields: dict[str, Any]) -> None:
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        shown = f"{value:g}" if isinstance(value, float) else value
        print(f"{name:<{width}}  {'-' if shown == '' else shown}")  # a line is always a name and a value


def _print_json(value: object, indent: int | None = None) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=indent), flush=True)


def _complain(text: str) -> None:
    sys.stdout.flush()  # in a terminal or a common log, in the order in which it happened
    print(f"whisperctl: {_printable(text)}", file=sys.stderr)


def _printable(text: str) -> str:
    """File names and a model's output may hold what commands a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


if __name__ == "__main__":
    sys.exit(main())
