"""Who is judged, and the results that are kept, so that a run that was broken off goes on where it was.

A result belongs to the contender, what it is made of, and the samples it heard. Each contender's results are a
file of JSON lines in the cache, with a hash of what the contender is made of in its name: a changed bundle or
changed code begins a new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import numpy as np
from whisperd.audio.pcm import Int16Samples
from whisperd.speech.options import Options
from whisperd.speech.transcribe import load
from whisperd.speech.types import Unattended

ROOT = Path(__file__).resolve().parents[2]
CODE = ROOT / "service/whisperd/speech"
#: What does nothing to a clip's text here: the detector is not asked, no stream is followed, nothing has times.
NO_MATTER = frozenset(
    ("alignment.py", "confidence.py", "coverage.py", "endpoint.py", "gate.py")
    + ("segments.py", "streaming.py", "types.py", "vad.py", "words.py")
)

FULL, TAIL, INT8, STRANGER = "fp32 full context", "fp32 tail", "int8 tail", "faster-whisper int8"
CONTENDERS = (FULL, TAIL, INT8, STRANGER)


class CacheError(Exception):
    """A file of results cannot be used: which line of which file, and why."""


@dataclass(frozen=True)
class Heard:
    """What a contender made of some samples. Of the stranger only the text is known.

    Attributes:
        tokens, logprobs: text tokens, and the natural log-probability of each.
        refused: why the daemon does not deliver the text; "" if it does.
    """

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    fallbacks: int = 0
    refused: str = ""


class Engine(Protocol):
    """Samples and their language in, text out."""

    def __call__(self, pcm: Int16Samples, language: str) -> Heard: ...


@dataclass(frozen=True)
class Contender:
    """One of those judged: its name, what it is made of, and how to load it."""

    name: str
    made_of: str
    load: Callable[[], Engine]


def code_version(folder: Path = CODE) -> str:
    """Hash of the code that turns samples into text."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        if path.name not in NO_MATTER:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def ours(name: str, bundle: Path, *, full_context: bool, threads: int) -> Contender:
    """whisperd's engine in this process. No detector of voices: the recogniser itself is judged."""
    manifest = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()[:12]

    def make() -> Engine:
        engine = load(bundle, threads=threads, language="en")
        # What there is no room for in a transcription: the probability of each token.
        attempts, found = engine._attempts, []
        find = attempts.find

        def listening(*arguments: Any, **named: Any) -> Any:
            found.append(find(*arguments, **named))
            return found[-1]

        attempts.find = listening  # type: ignore[method-assign]

        def transcribe(pcm: Int16Samples, language: str) -> Heard:
            found.clear()
            text = engine.transcribe(pcm, Options(language=language), Unattended(), full_context=full_context)
            if len(found) != 1:  # all but silent, or more than one window: no tokens to look at
                return Heard(text.text, fallbacks=text.fallbacks, refused=text.no_speech)
            decoded = found[0].decoded
            return Heard(
                text.text,
                tuple(decoded.tokens),
                tuple(round(value, 5) for value in decoded.logprobs),
                round(decoded.avg_logprob, 5),
                round(decoded.no_speech_prob, 5),
                text.fallbacks,
                text.no_speech,
            )

        return transcribe

    return Contender(name, f"{manifest} {code_version()}", make)


def stranger(model: Callable[[], Path], threads: int) -> Contender:
    """faster-whisper: int8, greedy, no timestamps, no second try at a higher temperature."""
    from importlib.metadata import version

    def make() -> Engine:
        from faster_whisper import WhisperModel

        whisper = WhisperModel(str(model()), device="cpu", compute_type="int8", cpu_threads=threads)

        def transcribe(pcm: Int16Samples, language: str) -> Heard:
            segments, _ = whisper.transcribe(
                pcm.astype(np.float32) / 32768,
                language=language,
                beam_size=1,
                temperature=0.0,
                without_timestamps=True,
                condition_on_previous_text=False,
            )
            return Heard("".join(segment.text for segment in segments).strip())

        return transcribe

    made_of = f"faster-whisper {version('faster-whisper')} ctranslate2 {version('ctranslate2')} base int8"
    return Contender(STRANGER, made_of, make)


class Results:
    """The results of one contender, in memory and in a file that is only ever appended to.

    Args:
        only_read: look at what is there, also while another run appends to it.

    Attributes:
        older: how many results `borrow` took.

    Raises:
        CacheError: a line that is no result, or somebody else is writing to the file.
    """

    def __init__(self, folder: Path, contender: Contender, *, only_read: bool = False) -> None:
        plain = contender.name.replace(" ", "-")
        made_of = hashlib.sha256(contender.made_of.encode()).hexdigest()[:12]
        self.path = folder / f"{plain}-{made_of}.jsonl"
        self._by_audio: dict[str, Heard] = {}
        self.older = 0
        self._file: BinaryIO | None = None
        if only_read:
            self._read(self.path.read_bytes() if self.path.is_file() else b"")
            return
        folder.mkdir(parents=True, exist_ok=True)
        file = self.path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.seek(0)
            # A run that ended in the middle of a line makes that result again.
            file.truncate(self._read(file.read()))
        except OSError:
            file.close()
            raise CacheError(f"{self.path} is in use: another run of the same contender goes on") from None
        except CacheError:
            file.close()
            raise
        self._file = file

    def __contains__(self, audio: str) -> bool:
        return audio in self._by_audio

    def __getitem__(self, audio: str) -> Heard:
        return self._by_audio[audio]

    def add(self, audio: str, heard: Heard) -> None:
        """Keep a result. It is in the file when this returns."""
        if self._file is None:
            raise ValueError(f"{self.path} is only read")
        line = json.dumps({"audio": audio, **asdict(heard)}, ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        self._by_audio[audio] = heard

    def borrow(self) -> None:
        """Take what is missing from results of other code or another bundle, the newest first; not kept as own."""
        name = self.path.name.rsplit("-", 1)[0]
        others = [path for path in self.path.parent.glob(f"{name}-*.jsonl") if path != self.path]
        others = [path for path in others if path.name.rsplit("-", 1)[0] == name]
        for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
            own = self._by_audio
            self._by_audio = {}
            self._read(path.read_bytes(), path)
            self.older += len(self._by_audio.keys() - own.keys())
            self._by_audio.update(own)

    def close(self) -> None:
        """Let others write."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, raw: bytes, path: Path | None = None) -> int:
        """Take whole lines; returns how many bytes those are."""
        whole = raw[: raw.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                audio, heard = parse(line)
            except (ValueError, TypeError, KeyError) as error:
                raise CacheError(
                    f"{path or self.path}:{number} is not a result ({error}); remove that line, or the file"
                ) from None
            self._by_audio[audio] = heard
        return len(whole)


def parse(line: bytes) -> tuple[str, Heard]:
    """A line of a file of results.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    audio = fields.pop("audio")
    for name in ("tokens", "logprobs"):
        fields[name] = tuple(fields[name])
    heard = Heard(**fields)
    if not isinstance(audio, str) or not isinstance(heard.text, str):
        raise ValueError("audio and text are not strings")
    if len(heard.tokens) != len(heard.logprobs):
        raise ValueError(f"{len(heard.tokens)} tokens and {len(heard.logprobs)} log-probabilities")
    return audio, heard


def fair_order(languages: Sequence[str], conditions: Sequence[str], seed: int) -> list[tuple[int, str]]:
    """Every clip in every condition, so that each beginning of the list has all slices in equal parts.

    Args:
        languages: each clip's.

    Returns:
        (index of the clip, condition). Languages take turns; a clip's condition moves on with each round.
    """
    luck = np.random.default_rng(seed)
    by_language: dict[str, list[int]] = {}
    for index, language in enumerate(languages):
        by_language.setdefault(language, []).append(index)
    queues = [list(luck.permutation(indices)) for indices in by_language.values()]
    # Languages with more clips are spread as evenly as the others.
    places = sorted(
        ((turn + 0.5) / len(queue), language, int(index), turn)
        for language, queue in enumerate(queues)
        for turn, index in enumerate(queue)
    )
    return [
        (index, conditions[(turn + language + shift) % len(conditions)])
        for shift in range(len(conditions))
        for _, language, index, turn in places
    ]
