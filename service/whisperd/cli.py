"""whisperctl: transcribe files and look at the daemon, from a terminal or a script.

Text goes to stdout, everything about it to stderr, so that a pipe gets words and nothing else. Colour and a
progress bar come from `rich` where it is installed and the output is a terminal; the target does without.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

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
from whisperd.client import Client, ClientError, Unreachable

__all__ = ["FAILED", "INTERRUPTED", "OK", "UNREACHABLE", "USAGE", "main"]

DEFAULT_SOCKET = "/run/whisperd/whisperd.sock"

EPILOG = """\
examples:
  whisperctl transcribe recording.wav
  whisperctl transcribe --language de *.mp3 > texts.txt
  whisperctl transcribe --json interview.flac | jq .segments
  whisperctl transcribe --output-format srt -r films/
  arecord -d 5 -f S16_LE -r 16000 | whisperctl transcribe -
  whisperctl listen                            # speak; Ctrl-C ends
  whisperctl devices
  whisperctl --socket /tmp/whisperd.sock status

whisperctl COMMAND --help tells more, with examples.
The socket is, in this order: --socket, $WHISPERD_SOCKET_PATH, /run/whisperd/whisperd.sock.

exit codes: 0 done, 1 a file or the request failed, 2 wrong usage, 3 the daemon cannot be reached, 130 Ctrl-C
With --json, a file that failed has an object with "error" ("code", "text", "retry"); its text is on stderr too.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that is not UTF-8 shows a question mark; a transcript is not lost for one letter.
            stream.reconfigure(errors="replace")
    arguments = _parser().parse_args(argv)
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


class _CommandParser(argparse.ArgumentParser):
    """A command's parser.

    Args:
        fill: adds its arguments, when it is their turn: what they are made of takes long to load.
    """

    def __init__(self, *, fill: Callable[[argparse.ArgumentParser], None] | None = None, **named: Any) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=formatter, allow_abbrev=False, **named)
        self._fill = fill

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As its parent, with its arguments there."""
        if self._fill is not None:
            self._fill(self)
            self._fill = None
        return super().parse_known_args(args, namespace)


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
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_CommandParser
    )

    transcribe = commands.add_parser(
        "transcribe",
        help="print what is said in recordings, or write it to files",
        description="Print what is said in recordings of any length, or write it to files.",
        fill=_fill_transcribe,
    )
    transcribe.set_defaults(command=_transcribe)
    listen = commands.add_parser(
        "listen",
        help="print what is said, while it is said",
        description="Print what is said into a microphone, while it is said.",
        fill=_fill_listen,
    )
    listen.set_defaults(command=_listen)
    devices = commands.add_parser("devices", help="the daemon's capture devices")
    devices.set_defaults(command=_devices)
    _add_json(devices, "as JSON")
    status = commands.add_parser("status", help="what the daemon is doing")
    status.set_defaults(command=_status)
    _add_json(status, "as JSON")
    describe = commands.add_parser("describe", help="what the daemon can do (Wyoming's info)")
    describe.set_defaults(command=_describe)
    _add_json(describe, "as JSON on one line")
    models = commands.add_parser("models", help="the loaded model, its languages and licence")
    models.set_defaults(command=_models)
    _add_json(models, "as JSON")
    for command in (transcribe, listen, devices, status, describe, models):
        # Understood behind the command as well; without a default, which would override the one before it.
        command.add_argument("--socket", metavar="PATH", default=argparse.SUPPRESS, help="as before the command")
    return parser


def _add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what}")


# --- speech -----------------------------------------------------------------------------------------------


def _fill_transcribe(parser: argparse.ArgumentParser) -> None:
    from whisperd.cli_transcribe import fill

    fill(parser)


def _transcribe(arguments: argparse.Namespace) -> int:
    from whisperd.cli_transcribe import run

    return run(arguments)


def _fill_listen(parser: argparse.ArgumentParser) -> None:
    from whisperd.cli_listen import fill

    fill(parser)


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
