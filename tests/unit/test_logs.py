"""Log lines: for the journal, for a person, and never more lines than were meant."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from whisperd import logs
from whisperd.config import LogConfig

SAY = """
import logging, os, sys
from whisperd import logs
from whisperd.config import LogConfig
stream = os.fstat(2)
if "mine" in sys.argv:
    os.environ["JOURNAL_STREAM"] = f"{stream.st_dev}:{stream.st_ino}"
logs.set_up(LogConfig(sys.argv[1], sys.argv[2]), os.environ)
log = logging.getLogger("whisperd.test")
log.debug("one"); log.info("two"); log.warning("three"); log.error("four"); log.critical("five")
"""


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """pytest's own handlers, afterwards as before."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], root.level, logging.raiseExceptions = before


def said(*arguments: str, **environ: str) -> list[str]:
    clean = {k: v for k, v in os.environ.items() if k != "JOURNAL_STREAM"}
    done = subprocess.run(
        [sys.executable, "-c", SAY, *arguments],
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_priorities_for_the_journal() -> None:
    assert said("debug", "journal") == ["<7>one", "<6>two", "<4>three", "<3>four", "<2>five"]


def test_lines_for_a_person() -> None:
    lines = said("debug", "plain")
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    assert [line[9:] for line in lines] == [
        "DEBUG one",
        "INFO two",
        "WARNING three",
        "ERROR four",
        "CRITICAL five",
    ]


@pytest.mark.parametrize(("level", "count"), [("debug", 5), ("info", 4), ("warning", 3), ("error", 2)])
def test_level(level: str, count: int) -> None:
    assert len(said(level, "journal")) == count


def test_auto_is_for_the_journal_only_where_stderr_is_the_journal_s_stream() -> None:
    assert said("info", "auto", "mine")[0] == "<6>two"
    assert said("info", "auto")[0].endswith(" INFO two")
    # A terminal in a desktop session: inherited, and another stream.
    assert said("info", "auto", JOURNAL_STREAM="9:12345")[0].endswith(" INFO two")
    assert said("info", "auto", JOURNAL_STREAM="nonsense")[0].endswith(" INFO two")
    assert said("info", "plain", "mine")[0].endswith(" INFO two")


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("whisperd", logging.INFO, "file.py", 1, message, arguments, None)
    made.__dict__.update(fields)
    return made


@pytest.mark.parametrize("formatter", [logs.PlainFormatter(), logs.JournalFormatter()])
def test_a_peer_cannot_write_lines_of_its_own_or_command_a_terminal(formatter: logging.Formatter) -> None:
    line = formatter.format(record("language %s", "en\n<0>fake\r\x1b[2J\x00\x9b\u2028é"))
    assert line.endswith("language en\\n<0>fake\\r\\x1b[2J\\x00\\x9b\\u2028é")
    assert len(line.splitlines()) == 1


def test_each_line_of_a_traceback_has_its_priority() -> None:
    try:
        raise ValueError("deep\nin there")
    except ValueError:
        lines = logs.JournalFormatter().format(record("failed", exc_info=sys.exc_info())).split("\n")
    assert lines[0] == "<6>failed" and lines[1] == "<6>Traceback (most recent call last):"
    assert len(lines) > 4 and all(line.startswith("<6>") for line in lines)


def test_set_up_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(LogConfig("debug", "plain"), {})
    logs.set_up(LogConfig("warning", "journal"), {})
    logging.getLogger("whisperd").info("no")
    logging.getLogger("whisperd").warning("yes")
    assert capsys.readouterr().err == "<4>yes\n"
