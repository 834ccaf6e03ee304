"""whisperctl: transcribe files and look at the daemon, from a terminal or a script.

Text goes to stdout, everything about it to stderr, so that a pipe gets words and nothing else. Colour and a
progress bar come from `rich` where it is installed and the output is a terminal; the target does without.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from whisperd import __version__
from whisperd.cli_output import (
    FAILED,
    INTERRUPTED,
    OK,
    UNREACHABLE,
    USAGE,
    complain,
    print_json,
    printable,
    remark,
)
from whisperd.cli_progress import Progress, progress
from whisperd.client import Client, ClientError, Transcript, Unreachable
from whisperd.errors import WhisperdError

if TYPE_CHECKING:
    from whisperd.speech.types import Int16Samples

__all__ = ["FAILED", "INTERRUPTED", "OK", "UNREACHABLE", "USAGE", "main"]

DEFAULT_SOCKET = "/run/whisperd/whisperd.sock"
#: For the daemon to confirm that it has stopped working for us.
CANCEL_SECONDS = 2.0

EPILOG = """\
examples:
  whisperctl transcribe recording.wav
  whisperctl transcribe --language de *.mp3 > texts.txt
  whisperctl transcribe --json interview.flac | jq .segments
  arecord -d 5 -f S16_LE -r 16000 | whisperctl transcribe -
  whisperctl listen                            # speak; Ctrl-C ends
  whisperctl devices
  whisperctl --socket /tmp/whisperd.sock status

The socket is, in this order: --socket, $WHISPERD_SOCKET_PATH, /run/whisperd/whisperd.sock.

exit codes: 0 done, 1 a file or the request failed, 2 wrong usage, 3 the daemon cannot be reached, 130 Ctrl-C
With --json, a file that failed has an object with "error" ("code", "text", "retry"); its text is on stderr too.
"""

LISTEN_EPILOG = """\
examples:
  whisperctl listen                            what stands is bright, what may still change is dim
  whisperctl listen --push-to-talk             Enter or Space ends what you say, and begins anew
  whisperctl listen --once --language de       one sentence, and done: for scripts
  whisperctl listen >> notes.txt               only final texts, one a line
  whisperctl listen --json | jq -r 'select(.type == "partial") | .stable + .unstable'
  whisperctl listen --device plughw:CARD=Headset
  whisperctl listen --file talk.flac

Ctrl-C ends it, and what is being said is still printed; a second Ctrl-C leaves at once.
What becomes of the microphone, and audio that was lost, is told on stderr.

exit codes: 0 ended by Ctrl-C, --once or the file's end, 1 the microphone, the file or an utterance failed,
2 wrong usage, 3 the daemon cannot be reached, 130 a second Ctrl-C
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
        complain(error.text)
        return UNREACHABLE
    except ClientError as error:
        complain(error.text)
        return FAILED
    except KeyboardInterrupt:
        complain("interrupted")
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

    listen = commands.add_parser(
        "listen",
        help="print what is said, while it is said",
        description="Print what is said into a microphone, while it is said.",
        epilog=LISTEN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    listen.set_defaults(command=_listen)
    where = listen.add_mutually_exclusive_group()
    where.add_argument(
        "--device",
        metavar="NAME",
        help="capture here, from this device of ALSA (arecord -L), and send it; default: the daemon's microphone",
    )
    where.add_argument(
        "--file", metavar="FILE", help="play a file at its real speed instead; - for standard input"
    )
    listen.add_argument("--push-to-talk", action="store_true", help="all until Enter or Space is one utterance")
    listen.add_argument("--once", action="store_true", help="end after the first utterance")
    listen.add_argument("--language", metavar="CODE", help='such as en or de; "auto" detects it')
    listen.add_argument("--task", choices=("transcribe", "translate"), help="translate: into English")
    listen.add_argument(
        "--sensitivity",
        choices=("relaxed", "default", "aggressive"),
        help="how soon silence ends an utterance: aggressive is soonest",
    )
    _add_json(listen, "every event of docs/protocol.md, a line each")
    devices = commands.add_parser("devices", help="the daemon's capture devices", allow_abbrev=False)
    devices.set_defaults(command=_devices)
    _add_json(devices, "as JSON")
    status = commands.add_parser("status", help="what the daemon is doing", allow_abbrev=False)
    status.set_defaults(command=_status)
    _add_json(status, "as JSON")
    describe = commands.add_parser("describe", help="what the daemon can do (Wyoming's info)", allow_abbrev=False)
    describe.set_defaults(command=_describe)
    _add_json(describe, "as JSON on one line")
    models = commands.add_parser("models", help="the loaded model, its languages and licence", allow_abbrev=False)
    models.set_defaults(command=_models)
    _add_json(models, "as JSON")
    for command in (transcribe, listen, devices, status, describe, models):
        # Understood behind the command as well; without a default, which would override the one before it.
        command.add_argument("--socket", metavar="PATH", default=argparse.SUPPRESS, help="as before the command")
    return parser


def _add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what}")


# --- transcribe -------------------------------------------------------------------------------------------


def _transcribe(arguments: argparse.Namespace) -> int:
    """One file after the other; one that fails does not stop the rest."""
    result, many = OK, len(arguments.files) > 1
    with Client(arguments.socket) as client, progress(len(arguments.files), arguments.json) as shown:
        for name in arguments.files:
            shown.begin(name)
            client.connect()  # an error may have ended the connection, and that is this far and no further
            try:
                answer, seconds = _one(client, name, arguments, shown)
            except KeyboardInterrupt:
                _cancel(client)
                raise
            except (WhisperdError, ClientError, OSError) as error:
                result = FAILED
                shown.complain(name, error)
                if isinstance(error, ClientError):
                    client.close()
            else:
                shown.show(name, answer, seconds, many=many)
    return result


def _cancel(client: Client) -> None:
    """Tell the daemon not to go on. Closing the connection does the same; this makes sure that it has."""
    with contextlib.suppress(ClientError, KeyboardInterrupt):
        client.cancel(timeout=CANCEL_SECONDS)


def _one(client: Client, name: str, arguments: argparse.Namespace, shown: Progress) -> tuple[Transcript, float]:
    pcm = _read(name, client.max_clip_seconds)
    begun = time.monotonic()
    answer = client.transcribe(
        pcm, language=arguments.language, task=arguments.task, priority="file", on_queued=shown.queued
    )
    return answer, time.monotonic() - begun


def _read(name: str, limit: float) -> Int16Samples:
    from whisperd.audio.files import read_audio

    return read_audio(sys.stdin.buffer if name == "-" else name, limit)


# --- live speech ------------------------------------------------------------------------------------------


def _listen(arguments: argparse.Namespace) -> int:
    from whisperd.cli_listen import run

    return run(arguments)


def _devices(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        devices = client.devices()
    if arguments.json:
        print_json(devices)
        return OK
    for device in devices:
        mark = "*" if device["default"] else " "
        print(f"{mark} {printable(device['name'])}")
        if device["description"]:
            print(f"    {printable(device['description'])}")
    if not devices:
        remark(NO_DEVICES)
    elif any(device["default"] for device in devices):
        remark("*: the microphone that whisperd is configured for")
    else:
        remark("the microphone that whisperd is configured for is none of these: [microphone] device names it")
    return OK


NO_DEVICES = (
    "no capture devices: plug in a microphone; if `arecord -L` lists one, the user of whisperd must be in the"
    " group audio"
)


# --- questions --------------------------------------------------------------------------------------------


def _status(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        status = client.status()
    if arguments.json:
        print_json(status)
    else:
        _print_fields(status)
    return OK


def _describe(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        info = client.describe()
    print_json(info, indent=None if arguments.json else 2)
    return OK


def _models(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        info = client.describe()
    models = [model for program in info.get("asr", []) for model in program.get("models", [])]
    if arguments.json:
        print_json(models)
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


if __name__ == "__main__":
    sys.exit(main())
