"""Which recordings there are, and what is written for them: known, and without conflict, before work begins."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from whisperd.cli_output import as_json
from whisperd.client import ClientError, Transcript
from whisperd.subtitles import SHAPE, SHAPED, WRITERS, Cue, Shape, cues_of_json

JSON: Final = "json"
ALL: Final = "all"
FORMATS: Final = (*WRITERS, JSON)

STDIN: Final = "-"

SUFFIXES: Final = frozenset(
    (
        *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
        *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"),
    )
)
"""What is taken for a recording in a folder. One of another name can be named."""


class Conflict(Exception):
    """Files that would be written over each other, or over a recording."""


@dataclass(frozen=True)
class Recording:
    """A recording, and the files that are to be written for it.

    Attributes:
        name: as it is shown and opened; "-" for standard input.
        relative: where it is within the folder that was named; its name where it was named itself.
        outputs: (format, file).
    """

    name: str
    relative: Path
    outputs: tuple[tuple[str, Path], ...] = ()


@dataclass
class Found:
    """What the named files and folders hold.

    Attributes:
        others: files of folders that are no recordings.
        folders: folders that were not looked into.
        problems: folders that could not be read.
    """

    recordings: list[Recording] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    folders: int = 0
    problems: list[OSError] = field(default_factory=list)


def find(names: Sequence[str], *, recursive: bool) -> Found:
    """The recordings that are meant: files as they are named, and those of folders by their names' endings.

    Hidden files and folders, and links to folders, are left out. What is not there is a recording that will fail.
    """
    found = Found()
    for name in names:
        if name == STDIN:
            found.recordings.append(Recording(STDIN, Path("stdin")))
        elif os.path.isdir(name):
            _search(name, recursive, found)
        else:
            found.recordings.append(Recording(name, Path(os.path.basename(name))))
    return found


def _search(top: str, recursive: bool, found: Found) -> None:
    for folder, below, files in os.walk(top, onerror=found.problems.append):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if not recursive:
            found.folders += len(below)
            below.clear()
        for file in sorted(files):
            path = Path(folder, file)
            if file.startswith(".") or path.suffix.lower() not in SUFFIXES:
                found.others.append(path)
            else:
                found.recordings.append(Recording(str(path), path.relative_to(top)))


def formats_of(text: str) -> tuple[str, ...]:
    """The formats of a list with commas; ValueError for one that there is not."""
    wanted = [name.strip() for name in text.lower().split(",")]
    if wrong := [name for name in wanted if name not in (*FORMATS, ALL)]:
        raise ValueError(f"{wrong[0]!r} is none of {', '.join(FORMATS)}, {ALL}")
    return tuple(name for name in FORMATS if name in wanted or ALL in wanted)


def plan(recordings: Sequence[Recording], formats: Sequence[str], folder: Path | None) -> list[Recording]:
    """The same recordings, each once, with what is written for them.

    Args:
        folder: for all that is written, in folders as they were found; None for beside the recordings.

    Raises:
        Conflict: two recordings would get the same file, or one of them would be overwritten.
    """
    planned: list[Recording] = []
    seen: set[str] = set()
    taken = {os.path.realpath(r.name): r.name for r in recordings if r.name != STDIN}
    for recording in recordings:
        identity = os.path.realpath(recording.name) if recording.name != STDIN else STDIN
        if identity in seen:
            continue
        seen.add(identity)
        beside = Path(recording.name).parent / recording.relative.name
        place = beside if folder is None else folder / recording.relative
        outputs = tuple((name, place.with_suffix(f".{name}")) for name in formats)
        for _, path in outputs:
            key = os.path.realpath(path)
            if key in taken:
                raise Conflict(f"{path} would be of {recording.name} and of {taken[key]}")
            taken[key] = recording.name
        planned.append(Recording(recording.name, recording.relative, outputs))
    return planned


def missing(recording: Recording, *, overwrite: bool) -> list[tuple[str, Path]]:
    """What is still to be written.

    Raises:
        OSError: it cannot be, which is better known before an hour of work.
    """
    wanted = [(name, path) for name, path in recording.outputs if overwrite or not os.path.lexists(path)]
    for _, path in wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return wanted


def content(name: str, form: str, answer: Transcript, shape: Shape = SHAPE) -> str:
    """A transcript in one of the formats.

    Args:
        shape: of cues, in the formats that have some.

    Raises:
        ClientError: the answer's segments are not what they should be.
    """
    if form == JSON:
        return json.dumps(as_json(name, answer.data), ensure_ascii=False, indent=2) + "\n"
    cues = _cues(answer)
    return SHAPED[form](cues, shape) if form in SHAPED else WRITERS[form](cues)


def _cues(answer: Transcript) -> list[Cue]:
    try:
        cues = cues_of_json(answer.data.get("segments", []))
    except ValueError as error:
        raise ClientError(f"not what whisperd says: {error}") from None
    if not cues and answer.text:
        return [Cue(0.0, answer.audio_seconds, answer.text)]
    return cues


def write(path: Path, text: str) -> None:
    """Write a file so that, whatever happens, it is there in whole or as it was before.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "x", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(part)):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
