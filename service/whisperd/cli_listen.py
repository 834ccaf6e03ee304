"""`whisperctl listen`: one loop over what the daemon tells, keys, signals and audio of our own."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from contextlib import ExitStack, suppress
from types import FrameType, TracebackType
from typing import Any

from whisperd.cli_options import add_options, chosen
from whisperd.cli_output import FAILED, OK, complain, print_json
from whisperd.cli_screen import Keyboard
from whisperd.cli_sources import DeviceSource, FileSource, Source
from whisperd.cli_view import Json, Plain, Terminal, View
from whisperd.client import Client, ClientError, Unreachable
from whisperd.errors import WhisperdError
from whisperd.live_client import Failed, Final, Live
from whisperd.speech.options import CHOICES

TALK_KEYS, END_KEYS = "\r\n ", "\x03\x04"
"""Enter and Space; Ctrl-D, and Ctrl-C where the terminal makes no signal of it."""

FILE_SECONDS = 3600.0
"""The longest file that is played."""


EPILOG = """\
examples:
  whisperctl listen                            what stands is bright, what may still change is dim
  whisperctl listen --push-to-talk             Enter or Space ends what you say, and begins anew
  whisperctl listen --once --language de       one sentence, and done: for scripts
  whisperctl listen >> notes.txt               only final texts, one a line
  whisperctl listen --json | jq -r 'select(.type == "partial") | .stable + .unstable'
  whisperctl listen --device plughw:CARD=Headset
  whisperctl listen --file talk.flac
  whisperctl listen --hotwords "Anna Müller,Zoo" --initial-prompt "Two people plan a trip."

Ctrl-C ends it, and what is being said is still printed; a second Ctrl-C leaves at once.
What becomes of the microphone, and audio that was lost, is told on stderr.

exit codes: 0 ended by Ctrl-C, --once or the file's end, 1 the microphone, the file or an utterance failed,
2 wrong usage, 3 the daemon cannot be reached, 130 a second Ctrl-C
"""


def fill(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "whisperctl listen [OPTION …]"
    parser.epilog = EPILOG
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--device",
        metavar="NAME",
        help="capture here, from this device of ALSA (arecord -L), and send it; default: the daemon's microphone",
    )
    where.add_argument(
        "--file", metavar="FILE", help="play a file at its real speed instead; - for standard input"
    )
    parser.add_argument("--push-to-talk", action="store_true", help="all until Enter or Space is one utterance")
    parser.add_argument("--once", action="store_true", help="end after the first utterance")
    parser.add_argument(
        "--sensitivity",
        choices=("relaxed", "default", "aggressive"),
        help="how soon silence ends an utterance: aggressive is soonest",
    )
    add_options(parser, [name for name, choice in CHOICES.items() if choice.live])
    parser.add_argument("--json", action="store_true", help="print every event of docs/protocol.md, a line each")


def run(arguments: argparse.Namespace) -> int:
    """Listen until it is over; returns the exit code."""
    try:
        with Client(arguments.socket) as client, ExitStack() as stack:
            view = _view(arguments)
            source = _source(arguments, view)
            if source is not None:
                stack.callback(source.close)
            keyboard = Keyboard(sys.stdin.fileno() if _is_terminal(sys.stdin) else None)
            signals = stack.enter_context(_Signals())
            stack.enter_context(keyboard)
            stack.callback(view.close)
            return _Listener(client, arguments, source, keyboard, view, signals).run()
    except (WhisperdError, ClientError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise  # whoever reads our output has enough
        if arguments.json:
            code = getattr(error, "code", "connection-lost" if isinstance(error, Unreachable) else "bad-file")
            told = {"code": code, "text": _text(error), "retry": getattr(error, "retry", False)}
            print_json({"type": "error", **told})
        if isinstance(error, Unreachable):
            raise
        complain(_text(error))
        return FAILED


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _source(arguments: argparse.Namespace, view: View) -> Source | None:
    if arguments.file is not None:
        from whisperd.audio.files import read_audio

        return FileSource(read_audio(sys.stdin.buffer if arguments.file == "-" else arguments.file, FILE_SECONDS))
    return None if arguments.device is None else DeviceSource(arguments.device, view.note)


def _view(arguments: argparse.Namespace) -> View:
    if arguments.json:
        return Json()
    if not _is_terminal(sys.stdout) or os.environ.get("TERM", "dumb") == "dumb":
        return Plain()
    return Terminal(sys.stdout, colour=not os.environ.get("NO_COLOR"))


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty()) and stream.fileno() >= 0
    except (AttributeError, OSError, ValueError):  # none, or closed
        return False


class _Listener:
    """The loop."""

    def __init__(
        self,
        client: Client,
        arguments: argparse.Namespace,
        source: Source | None,
        keyboard: Keyboard,
        view: View,
        signals: _Signals,
    ) -> None:
        self._client = client
        self._arguments = arguments
        self._options = chosen(arguments)
        self._source = source
        self._keyboard = keyboard
        self._view = view
        self._signals = signals
        self._texts = 0
        self._failed = False
        self._talks = (
            arguments.push_to_talk and arguments.file is None and keyboard.there
        )  # keys begin and end utterances
        self._ending = False  # nothing more is begun

    def run(self) -> int:
        """Until it is over; returns the exit code."""
        talking = True
        while talking:
            with self._begin() as live:
                self._follow(live)
            talking = self._talks and not self._arguments.once and self._wait_for_talk()
        self._view.close()
        if not self._texts and not self._failed:
            self._view.note("no speech")
        return FAILED if self._failed else OK

    def _begin(self) -> Live:
        self._client.connect()
        wish = {
            "mode": "push-to-talk" if self._arguments.push_to_talk else "hands-free",
            "vad_sensitivity": self._arguments.sensitivity,
        }
        if self._source is None:
            live = self._client.listen(**wish, options=self._options)
        else:
            live = self._client.stream(**wish, options=self._options)
            self._source.start()
        self._hint("Enter or Space ends the utterance" if self._talks else "Ctrl-C ends")
        return live

    def _follow(self, live: Live) -> None:
        """One stream, to its end."""
        stopping = False
        while True:
            while (event := live.poll()) is not None:
                self._view.show(event)
                self._texts += isinstance(event, Final)
                self._failed |= isinstance(event, Failed)
                if isinstance(event, Final) and self._arguments.once:
                    self._ending = True
                    live.cancel()
            if live.over:
                if not stopping and not self._ending:
                    self._ended_by_itself()
                return
            self._view.refresh()
            pressed = self._wait(live.fileno(), audio=not stopping)
            if stopping:
                continue
            ended = not self._feed(live)
            if ended or self._ending or (self._talks and any(key in TALK_KEYS for key in pressed)):
                self._ending |= ended
                stopping = True
                self._hint("finishing; Ctrl-C leaves at once" if self._ending else "finishing")
                live.stop()

    def _ended_by_itself(self) -> None:
        """The daemon listens no more: usually it says why."""
        self._client.status()
        self._failed = True
        self._view.note("whisperd ended listening by itself")

    def _feed(self, live: Live) -> bool:
        """Send what there is to send; False at its end."""
        if self._source is None:
            return True
        samples = self._source.read()
        if samples:
            live.send(samples)
        return samples is not None

    def _wait_for_talk(self) -> bool:
        """Between two utterances; False at the end. The daemon would not keep the connection for ever."""
        self._client.close()
        self._hint("Enter or Space talks again, Ctrl-C ends")
        while not self._ending:
            self._view.refresh()
            if any(key in TALK_KEYS for key in self._wait(None, audio=False)):
                return not self._ending
        return False

    def _wait(self, connection: int | None, *, audio: bool) -> str:
        """Until something happens; returns the keys that were pressed."""
        ready = select.poll()
        ready.register(self._signals.fileno(), select.POLLIN)
        if self._keyboard.there:
            ready.register(self._keyboard.fileno(), select.POLLIN)
        if connection is not None:
            ready.register(connection, select.POLLIN)
        timeout = None
        if audio and self._source is not None:
            timeout, descriptor = self._source.wait(), self._source.fileno()
            if descriptor is not None:
                ready.register(descriptor, select.POLLIN)
        # With a limit: the stream looks now and then whether the daemon is still there.
        found = {fd for fd, _ in ready.poll(1000 * min(1.0 if timeout is None else timeout, 1.0))}
        if self._signals.fileno() in found:
            self._obey(self._signals.take())
        pressed = self._keyboard.read() if self._keyboard.there and self._keyboard.fileno() in found else ""
        self._ending |= any(key in END_KEYS for key in pressed)
        return pressed

    def _obey(self, signals: set[int]) -> None:
        self._ending |= signal.SIGINT in signals
        if signal.SIGTSTP in signals:  # Ctrl-Z: the shell gets its terminal back, and we get it again
            self._view.close()
            self._keyboard.leave()
            os.kill(os.getpid(), signal.SIGSTOP)
            self._keyboard.enter()

    def _hint(self, text: str) -> None:
        self._view.hint(text)


class _Signals:
    """Signals, turned into something to wait for.

    The first Ctrl-C asks for the end, the second raises KeyboardInterrupt wherever it comes; SIGTERM and SIGHUP
    leave at once, with the terminal as it was.
    """

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._come: set[int] = set()
        self._before: dict[int, Any] = {}
        self._wakeup = -1
        self._interrupted = False

    def fileno(self) -> int:
        """Readable when one has come."""
        return self._reading

    def take(self) -> set[int]:
        """Those that have come since the last time."""
        with suppress(BlockingIOError):
            os.read(self._reading, 4096)
        come, self._come = self._come, set()
        return come

    def __enter__(self) -> _Signals:
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGWINCH):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reading)
        os.close(self._writing)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGHUP):
            raise SystemExit(128 + number)
        if number == signal.SIGINT and self._interrupted:
            raise KeyboardInterrupt
        self._interrupted |= number == signal.SIGINT
        self._come.add(number)
