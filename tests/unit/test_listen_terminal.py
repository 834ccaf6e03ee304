"""whisperctl listen on a terminal: what is seen, and that the terminal is afterwards as it was."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pytest
from fake_daemon import STOPPED, WAIT_SECONDS, Scripted, final, partial, say
from whisperd import cli
from whisperd.columns import wrap


@pytest.fixture(autouse=True)
def no_socket_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHISPERD_SOCKET_PATH", raising=False)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Scripted]:
    with Scripted(tmp_path / "s") as scripted:
        yield scripted


def command(daemon: Scripted, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "whisperd.cli", "--socket", str(daemon.path), "listen", *arguments]


class Screen:
    """As much of a terminal as is needed to see what is on it; anything else is an error."""

    def __init__(self, rows: int = 10, columns: int = 40) -> None:
        self.columns, self.rows = columns, rows
        self.lines: list[list[str]] = [[]]  # all there ever were, those that have scrolled out first
        self.row = self.column = 0
        self.cursor = True
        self.styles: set[str] = set()
        self._style = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""  # of a sequence that is not whole yet

    def feed(self, data: bytes) -> None:
        text = self._rest + self._decoder.decode(data)
        whole = re.sub(r"\x1b(\[[?0-9;]*)?$", "", text)
        self._rest = text[len(whole) :]
        for part in re.findall(r"\x1b\[\??[0-9;]*[A-Za-z]|[\s\S]", whole):
            if part.startswith("\x1b["):
                self._control(part[2:])
            elif part == "\r":
                self.column = 0
            elif part == "\n":
                self._down()
            else:
                assert part.isprintable(), ascii(part)
                self._put(part)

    def resize(self, columns: int) -> None:
        """Wrap anew what does not fit any more, as terminals do."""
        wrapped: list[list[str]] = []
        for row, line in enumerate(self.lines):
            if row == self.row:
                cursor = len(wrapped) + self.column // columns, self.column % columns
            wrapped += [line[i : i + columns] for i in range(0, len(line), columns)] or [[]]
        self.lines, self.columns = wrapped, columns
        self.row, self.column = cursor

    def _control(self, sequence: str) -> None:
        kind, number = sequence[-1], sequence[:-1]
        if sequence in ("?25l", "?25h"):
            self.cursor = kind == "h"
        elif kind == "A":
            self.row -= int(number)
            assert self.row >= max(0, len(self.lines) - self.rows), "above the screen"
        elif kind in "KJ" and not number:
            del self.lines[self.row][self.column :]
            if kind == "J":
                del self.lines[self.row + 1 :]
        elif kind == "m":
            self._style = number.removeprefix("0")
        else:
            raise AssertionError(f"unknown: {sequence}")

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def _put(self, c: str) -> None:
        cells = 2 if unicodedata.east_asian_width(c) in "WF" else 1
        if self.column + cells > self.columns:
            self.column = 0
            self._down()
        line = self.lines[self.row]
        line.extend(" " * (self.column - len(line)))
        line[self.column : self.column + cells] = [c, *[""] * (cells - 1)]
        self.column += cells
        self.styles.add(f"{self._style}:{c}")

    @property
    def text(self) -> list[str]:
        """The lines, without those that are empty at the end."""
        lines = ["".join(line).rstrip() for line in self.lines]
        while lines and not lines[-1]:
            lines.pop()
        return lines


TAKE_TERMINAL = "import os, sys; os.open(os.ttyname(0), os.O_RDWR); os.execv(sys.argv[1], sys.argv[1:])"
"""A session's first process gets the terminal that it opens first, and with it Ctrl-C and Ctrl-Z."""


class OnTerminal:
    """whisperctl on a terminal of its own."""

    def __init__(self, arguments: Sequence[str], rows: int = 10, columns: int = 40, **environ: str) -> None:
        self.screen = Screen(rows, columns)
        self.raw = b""
        self._ours, theirs = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        clean = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**clean, "TERM": "xterm", "PYTHONUTF8": "1", **environ},
            start_new_session=True,
        )

    def resize(self, rows: int, columns: int) -> None:
        """Call it when nothing is being written."""
        self.screen.resize(columns)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, seen: Callable[[Screen], bool]) -> None:
        """Read until something is seen."""
        give_up = time.monotonic() + WAIT_SECONDS
        while not seen(self.screen):
            assert time.monotonic() < give_up, self.screen.text
            self._read(0.05)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._ours], [], [], seconds)[0]:
            return False
        data = os.read(self._ours, 65536)
        self.raw += data
        self.screen.feed(data)
        return True

    def end(self) -> int:
        """Wait for its end; checks that the terminal is as it was."""
        give_up = time.monotonic() + WAIT_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < give_up, self.screen.text
            self._read(0.02)
        while self._read(0.0):
            pass
        self.check_restored()
        return self.process.returncode

    def check_restored(self) -> None:
        assert termios.tcgetattr(self._theirs) == self.before
        assert self.screen.cursor
        assert self.screen.column == 0

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


def shows(*lines: str) -> Callable[[Screen], bool]:
    """Whether the screen has these lines, the bar's aside."""
    return lambda screen: [line for line in screen.text if "Ctrl-C" not in line and "█" not in line] == list(lines)


def test_partial_texts_are_rewritten_in_place(daemon: Scripted) -> None:
    daemon.answers["listen-stop"] = [final("Four.", 2), STOPPED]
    with OnTerminal(command(daemon)) as terminal:
        daemon.wait_for("listen")
        daemon.say("level", rms=-30.0, peak=-20.0)
        terminal.until(lambda screen: screen.text == ["██████████░░░░░░░░░░  Ctrl-C ends"])
        say(daemon, partial("One", " tow"))
        terminal.until(shows("One tow"))
        assert {"1:O", "2:w"} <= terminal.screen.styles, "bright and dim"
        assert not terminal.screen.cursor
        say(daemon, partial("One two", " free"))
        terminal.until(shows("One two free"))
        say(daemon, final("One two three."))
        terminal.until(shows("One two three."))
        long = "three four five six seven eight nine ten eleven twelve"
        say(daemon, partial("", long, 1))
        terminal.until(shows("One two three.", "three four five six seven eight nine", "ten eleven twelve"))
        say(daemon, partial("Three", "", 1))
        terminal.until(shows("One two three.", "Three"))
        say(daemon, final(f"{long}.", 1))
        said = ["One two three.", "three four five six seven eight nine", "ten eleven twelve."]
        terminal.until(shows(*said))
        terminal.press("\x03")
        assert terminal.end() == cli.OK
        assert terminal.screen.text == [*said, "Four."]


def test_ctrl_c_twice_on_a_terminal(daemon: Scripted) -> None:
    daemon.answers["listen-stop"] = []
    with OnTerminal(command(daemon)) as terminal:
        daemon.wait_for("listen")
        say(daemon, partial("One", " two"))
        terminal.until(shows("One two"))
        terminal.press("abc")  # is not echoed
        terminal.press("\x03")
        daemon.wait_for("listen-stop")
        terminal.until(lambda screen: "finishing; Ctrl-C leaves at once" in screen.text)
        terminal.press("\x03")
        assert terminal.end() == cli.INTERRUPTED
        assert terminal.screen.text == ["whisperctl: interrupted"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(daemon: Scripted, number: signal.Signals) -> None:
    with OnTerminal(command(daemon)) as terminal:
        daemon.wait_for("listen")
        terminal.until(lambda screen: not screen.cursor)
        terminal.process.send_signal(number)
        assert terminal.end() == 128 + number
        assert terminal.screen.text == []


def test_a_daemon_that_dies_leaves_the_terminal_as_it_was(daemon: Scripted) -> None:
    with OnTerminal(command(daemon), columns=120) as terminal:
        daemon.wait_for("listen")
        terminal.until(lambda screen: not screen.cursor)
        daemon.hang_up()
        assert terminal.end() == cli.UNREACHABLE
        assert terminal.screen.text == ["whisperctl: whisperd closed the connection before it answered"]


def test_ctrl_z_gives_the_terminal_back_meanwhile(daemon: Scripted) -> None:
    daemon.answers["listen-stop"] = [final("One two."), STOPPED]
    with OnTerminal(command(daemon)) as terminal:
        daemon.wait_for("listen")
        say(daemon, partial("One", " two"))
        terminal.until(shows("One two"))
        terminal.press("\x1a")
        _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        terminal.until(lambda screen: screen.cursor)
        terminal.check_restored()
        terminal.process.send_signal(signal.SIGCONT)
        terminal.until(shows("One two"))
        assert not terminal.screen.cursor
        terminal.press("\x04")  # ends it as well
        assert terminal.end() == cli.OK
        assert terminal.screen.text == ["One two."]


@pytest.mark.parametrize("columns", [5, 12])
def test_a_narrow_terminal(daemon: Scripted, columns: int) -> None:
    daemon.answers["listen-stop"] = [final("Bye."), STOPPED]
    with OnTerminal(command(daemon), rows=4, columns=columns) as terminal:
        daemon.wait_for("listen")
        for n in range(30):
            daemon.say("level", rms=-60.0 + 2 * n, peak=0.0)
            say(daemon, partial("word 你好世界 " * n, "unbelievably long"))
        terminal.until(lambda screen: any("█" in line for line in screen.text) and len(screen.text) > 2)
        terminal.press("\x03")
        assert terminal.end() == cli.OK
        assert terminal.screen.text == ["Bye."]


def test_a_terminal_that_changes_its_size(daemon: Scripted) -> None:
    daemon.answers["listen-stop"] = [STOPPED]
    with OnTerminal(command(daemon), columns=40) as terminal:
        daemon.wait_for("listen")
        say(daemon, final("Stays."))
        say(daemon, partial("one two three four five six seven", "", 1))
        terminal.until(
            lambda screen: screen.text == ["Stays.", "one two three four five six seven", "Ctrl-C ends"]
        )
        terminal.resize(10, 16)
        terminal.until(
            lambda screen: screen.text == ["Stays.", "one two three", "four five six", "seven", "Ctrl-C ends"]
        )
        terminal.resize(10, 40)
        terminal.until(
            lambda screen: screen.text == ["Stays.", "one two three four five six seven", "Ctrl-C ends"]
        )
        terminal.press("\x03")
        assert terminal.end() == cli.OK
        assert terminal.screen.text == ["Stays."]


def test_push_to_talk_by_keys(daemon: Scripted) -> None:
    daemon.answers["listen-stop"] = [final("Said."), STOPPED]
    with OnTerminal(command(daemon, "--push-to-talk")) as terminal:
        assert daemon.wait_for("listen").data["mode"] == "push-to-talk"
        terminal.until(lambda screen: "Enter or Space ends the utterance" in screen.text)
        terminal.press("x")  # is no key
        terminal.press("\n")
        terminal.until(lambda screen: screen.text == ["Said.", "Enter or Space talks again, Ctrl-C ends"])
        assert len([event for event in daemon.heard if event.type == "listen"]) == 1
        terminal.press(" ")
        daemon.wait_for("listen", 2)
        terminal.until(lambda screen: "Enter or Space ends the utterance" in screen.text)
        terminal.press("\x03")
        assert terminal.end() == cli.OK
        assert terminal.screen.text == ["Said.", "Said."]
        assert len([event for event in daemon.heard if event.type == "listen-stop"]) == 2


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_terminal_that_can_less(daemon: Scripted, environ: dict[str, str]) -> None:
    daemon.answers["listen-stop"] = [partial("A", "b"), final("Word."), STOPPED]
    with OnTerminal(command(daemon), **environ) as terminal:
        daemon.wait_for("listen")
        terminal.press("\x03")
        assert terminal.end() == cli.OK
        shown = [line for line in terminal.screen.text if line != "^C"]
        assert shown == ["Word."] and "m" not in "".join(
            re.findall(r"\x1b\[\??[0-9;]*([A-Za-z])", terminal.raw.decode())
        )
        assert (b"\x1b" in terminal.raw) == ("NO_COLOR" in environ)


def test_trouble_stays_above_what_is_being_said(daemon: Scripted) -> None:
    daemon.answers["listen-stop"] = [STOPPED]
    with OnTerminal(command(daemon), columns=80) as terminal:
        daemon.wait_for("listen")
        say(daemon, partial("One", ""))
        daemon.say("mic-lost", text="un\x1bplugged", retry_seconds=1)
        lost = "microphone lost: un\\x1bplugged; whisperd looks for it every 1 s"
        terminal.until(shows(lost, "One"))
        daemon.say("no-speech", utterance=0, reason="no-voice", audio_seconds=1.0)
        terminal.until(shows(lost))
        terminal.press("\x03")
        assert terminal.end() == cli.OK
        assert terminal.screen.text == [lost, "no speech"]


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        ("", 5, []),
        ("one two", 7, ["one two"]),
        ("one two", 6, ["one", "two"]),
        ("one two", 3, ["one", "two"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("a bcdefg", 3, ["a", "bcd", "efg"]),
        ("你好世界", 5, ["你好", "世界"]),
        ("one two ", 7, ["one two"]),
    ],
)
def test_where_lines_are_broken(text: str, columns: int, lines: list[str]) -> None:
    assert [text[start:end] for start, end in wrap(text, columns)] == lines
