"""The log: lines on standard error, for the journal or for a person.

Transcripts and other words that were spoken are logged at DEBUG only: this is a microphone in a car.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping

from whisperd.config import LogConfig

# sd-daemon(3): priorities of syslog(3), read by the journal from the beginning of each line.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

# What could begin a line of its own or command a terminal. Names and codes in messages come from peers.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def set_up(config: LogConfig, environ: Mapping[str, str]) -> None:
    """Send every logger's lines to standard error. May be called again, and then replaces what was."""
    journal = config.format == "journal" or (config.format == "auto" and _is_journal(environ))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JournalFormatter() if journal else PlainFormatter())
    logging.basicConfig(level=config.level.upper(), handlers=[handler], force=True)
    # A log that cannot be written must not end in tracebacks on the same broken stream.
    logging.raiseExceptions = False


class _OneLineFormatter(logging.Formatter):
    """Control characters of the message are shown as escapes; only a traceback has lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _CONTROL.sub(lambda match: ascii(match[0])[1:-1], record.message)
        return super().formatMessage(record)


class PlainFormatter(_OneLineFormatter):
    """`12:34:56 INFO text`, in local time."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")


class JournalFormatter(_OneLineFormatter):
    """`<6>text`: the journal adds time and name, and takes each line of a traceback for an entry."""

    def format(self, record: logging.LogRecord) -> str:
        """Format, with the priority before each line."""
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).split("\n"))


def _is_journal(environ: Mapping[str, str]) -> bool:
    """Whether standard error goes to the journal.

    JOURNAL_STREAM alone does not say so: every program started from a desktop session inherits it. It holds
    device and inode of the stream that is meant (systemd.exec(5)).
    """
    try:
        stream = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"
