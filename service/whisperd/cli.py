"""whisperctl: transcribe files and look at the daemon, from a terminal or a script.

Text goes to stdout, everything about it to stderr, so that a pipe gets words and nothing else. Colour and a
progress bar come from `rich` where it is installed and the output is a terminal; the target does without.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from whisperd import __version__
from whisperd.client import Client, ClientError, ServerError, Transcript, Unreachable
from whisperd.errors import WhisperdError

if TYPE_CHECKING:
    from whisperd.speech.types import Int16Samples

DEFAULT_SOCKET = "/run/whisperd/whisperd.sock"
OK, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130
#: Where the daemon does not say what it accepts.
MAX_CLIP_SECONDS = 600.0

EPILOG = """\
examples:
  whisperctl transcribe recording.wav
  whisperctl transcribe --language de *.mp3 > texts.txt
  whisperctl transcribe --json interview.flac | jq .segments
  arecord -d 5 -f S16_LE -r 16000 | whisperctl transcribe -
  whisperctl --socket /tmp/whisperd.sock status

The socket is, in this order: --socket, $WHISPERD_SOCKET_PATH, /run/whisperd/whisperd.sock.

exit codes: 0 done, 1 a file or the request failed, 2 wrong usage, 3 the daemon cannot be reached, 130 Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
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
    parser.add_argument("--socket", metavar="PATH", default=socket, help=f"the daemon's socket; default: {socket}")
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
    models = commands.add_parser("models", help="the loaded model, its languages and licence", allow_abbrev=False)
    models.set_defaults(command=_models)
    _add_json(models, "as JSON")
    return parser


def _add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what}")


# --- transcribe -------------------------------------------------------------------------------------------


def _transcribe(arguments: argparse.Namespace) -> int:
    """One file after the other; one that fails does not stop the rest."""
    result = OK
    client = Client(arguments.socket)
    try:
        client.connect()
        with _progress(len(arguments.files)) as progress:
            for name in arguments.files:
                progress.begin(name)
                try:
                    answer, seconds = _one(client, name, arguments)
                except (WhisperdError, ServerError) as error:
                    progress.complain(error.text if name in error.text else f"{name}: {error.text}")
                    result = FAILED
                    # An error that ended the connection ends one file only.
                    client.connect()
                    continue
                except OSError as error:
                    progress.complain(f"{name}: {error.strerror or error}")
                    result = FAILED
                    continue
                progress.show(name, answer, seconds, as_json=arguments.json, many=len(arguments.files) > 1)
    except KeyboardInterrupt:
        if client.connected:
            client.cancel()
        raise
    finally:
        client.close()
    return result


def _one(client: Client, name: str, arguments: argparse.Namespace) -> tuple[Transcript, float]:
    limit = float(client.limits.get("max_clip_seconds", MAX_CLIP_SECONDS))
    pcm = _read(name, limit)
    begun = time.monotonic()
    answer = client.transcribe(pcm, language=arguments.language, task=arguments.task)
    return answer, time.monotonic() - begun


def _read(name: str, limit: float) -> Int16Samples:
    from whisperd.audio.files import read_audio

    return read_audio(sys.stdin.buffer if name == "-" else name, limit)


class _Progress(Protocol):
    """How results and the way there are shown."""

    def begin(self, name: str) -> None: ...

    def show(self, name: str, answer: Transcript, seconds: float, *, as_json: bool, many: bool) -> None: ...

    def complain(self, text: str) -> None: ...


class _Plain:
    """For pipes, files and the target."""

    def begin(self, name: str) -> None:
        """Nothing: the result says it."""

    def show(self, name: str, answer: Transcript, seconds: float, *, as_json: bool, many: bool) -> None:
        """The text, or JSON, on stdout; how long it took on stderr."""
        if as_json:
            print(json.dumps({"file": name, **answer.data}, ensure_ascii=False), flush=True)
            return
        print(f"{name}: {answer.text}" if many else answer.text, flush=True)
        self.note(_timing(answer, seconds))

    def note(self, text: str) -> None:
        """A remark about a result."""
        print(text, file=sys.stderr)

    def complain(self, text: str) -> None:
        """An error that is about one file."""
        _complain(text)


class _Rich(_Plain):
    """For a person at a terminal: a bar over several files, remarks that step back behind the text."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
        self.bar.update(self._task, completed=self._begun, description=name)
        self._begun += 1

    def note(self, text: str) -> None:
        """Dimmed."""
        self._console.print(text, style="dim", markup=False, highlight=False)


@contextmanager
def _progress(total: int) -> Iterator[_Progress]:
    if sys.stdout.isatty() and sys.stderr.isatty():
        try:
            shown = _Rich(total)
        except ImportError:
            pass
        else:
            with shown.bar:
                yield shown
            return
    yield _Plain()


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
        print(json.dumps(status, ensure_ascii=False))
    else:
        _print_fields(status)
    return OK


def _describe(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        print(json.dumps(client.describe(), indent=2, ensure_ascii=False))
    return OK


def _models(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        info = client.describe()
    models = [model for program in info.get("asr", []) for model in program.get("models", [])]
    if arguments.json:
        print(json.dumps(models, ensure_ascii=False))
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
        print(f"{name:<{width}}  {shown}")


def _complain(text: str) -> None:
    print(f"whisperctl: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
