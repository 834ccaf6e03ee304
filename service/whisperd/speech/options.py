"""What a client may choose for one clip, under the names that people know from faster-whisper. Pure.

Each choice is declared once: its type, range, unit and meaning stand in its field. The wire, the HTTP server, the
command line and the documentation read them from there.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import BadOption
from .choice import Choice
from .gbnf import MAX_CHARS, GrammarError, parse
from .types import Pass

#: Of a prompt: the decoder reads 223 tokens of it at most, which is some 1000 letters.
MAX_PROMPT_CHARS: Final = 4000
MAX_HOTWORDS, MAX_HOTWORD_CHARS = 200, 100
MAX_BEAM: Final = 8
MAX_TEMPERATURES: Final = 8
MAX_SUPPRESSED: Final = 1000
MAX_RANGES: Final = 1000
MAX_DETECTION_WINDOWS: Final = 20
#: A penalty of this much lets nothing through that a grammar does not have.
FORBIDDEN: Final = 100.0
#: The reference's (openai/whisper, timing.py): marks that belong to the word behind, or before, them.
PREPENDED, APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"


def _choice(default: Any, doc: str, kind: type, **more: Any) -> Any:
    return field(default=default, metadata={"doc": doc, "kind": kind, **more})


@dataclass(frozen=True)
class Options:
    """What a client may choose for one clip. `CHOICES` tells types and ranges; docs/protocol.md has them all.

    Attributes:
        live: the clip is an utterance, of at most 30 s, that is followed while it is spoken; None: it is whole.
            The daemon's own, and no client's choice.
    """

    language: str | None = _choice(
        None,
        'ISO 639-1 code as Whisper spells it, "auto" to detect it; none: as configured',
        str,
        nullable=True,
        longest=100,
        live=True,
    )
    task: str = _choice(
        "transcribe", '"transcribe", or "translate" into English', str, longest=100, live=True
    )  # its values are checked with the model: it may be one that cannot translate
    live: Pass | None = None
    without_timestamps: bool | None = _choice(
        None,
        "no times within a window of 30 s, which is faster; none: times where the clip is longer",
        bool,
        nullable=True,
    )
    word_timestamps: bool = _choice(False, "start, end and probability of each word", bool, live=True)
    beam_size: int = _choice(1, "hypotheses that are followed; 1 is greedy search", int, low=1, high=MAX_BEAM)
    patience: float = _choice(
        1.0, "beam search ends with this times beam_size finished texts", float, low=0.1, high=4.0
    )
    length_penalty: float = _choice(
        1.0, "exponent of the length that a text's log-probability is divided by", float, low=0.0, high=4.0
    )
    best_of: int = _choice(
        1, "texts that are drawn at a temperature over 0; the most probable counts", int, low=1, high=MAX_BEAM
    )
    repetition_penalty: float = _choice(
        1.0, "over 1, tokens that were chosen already become less probable", float, low=0.1, high=10.0
    )
    no_repeat_ngram_size: int = _choice(
        0, "sequences of so many tokens come only once; 0: as often as heard", int, low=0, high=50
    )
    temperature: tuple[float, ...] = _choice(
        (0.0, 0.4),
        "one after the other, until a text is neither improbable nor repeats itself",
        float,
        many=MAX_TEMPERATURES,
        low=0.0,
        high=2.0,
    )
    compression_ratio_threshold: float | None = _choice(
        2.4, "a text that compresses better than this repeats itself", float, nullable=True, low=1.0, high=100.0
    )
    log_prob_threshold: float | None = _choice(
        -1.0, "a text of a lower mean log-probability is improbable", float, nullable=True, low=-20.0, high=0.0
    )
    no_speech_threshold: float | None = _choice(
        None,
        "an improbable text of a higher no-speech probability was not said; none: the daemon's own rules",
        float,
        nullable=True,
        low=0.0,
        high=1.0,
    )
    condition_on_previous_text: bool = _choice(
        False, "the text so far is the prompt of the next window of a long clip", bool
    )
    prompt_reset_on_temperature: float = _choice(
        0.5, "but not one that needed a higher temperature than this", float, low=0.0, high=2.0
    )
    initial_prompt: str | None = _choice(
        None,
        "a text as if it had been said before: names, style, spelling",
        str,
        nullable=True,
        longest=MAX_PROMPT_CHARS,
        live=True,
    )
    carry_initial_prompt: bool = _choice(
        False, "all of the initial prompt stays before each window, however much text there is between", bool
    )
    prefix: str | None = _choice(
        None, "what the text of the first window begins with", str, nullable=True, longest=MAX_PROMPT_CHARS
    )
    hotwords: tuple[str, ...] = _choice(
        (), "names and words that are likely to come", str, many=MAX_HOTWORDS, longest=MAX_HOTWORD_CHARS, live=True
    )
    suppress_blank: bool = _choice(True, "a text does not begin with a blank, nor is it empty", bool, live=True)
    suppress_tokens: tuple[int, ...] | None = _choice(
        (-1,),
        "ids of tokens that are never chosen; -1 stands for the model's list of what nobody says",
        int,
        nullable=True,
        many=MAX_SUPPRESSED,
        low=-1,
        high=200_000,
        live=True,
    )
    max_initial_timestamp: float = _choice(
        1.0, "how late the first segment of a window may begin", float, low=0.0, high=30.0, unit="s"
    )
    max_new_tokens: int | None = _choice(
        None, "most tokens of a window; none: what its length can hold", int, nullable=True, low=1, high=448
    )
    prepend_punctuations: str = _choice(PREPENDED, "marks that belong to the word behind them", str, longest=100)
    append_punctuations: str = _choice(APPENDED, "marks that belong to the word before them", str, longest=100)
    clip_timestamps: tuple[float, ...] = _choice(
        (),
        "start, end, start, end … of what is to be transcribed, rising; without a last end up to the clip's",
        float,
        many=MAX_RANGES,
        low=0.0,
        high=360_000.0,
        unit="s",
    )
    multilingual: bool = _choice(False, "detect the language of each window of a long clip anew", bool)
    language_detection_segments: int = _choice(
        1,
        "windows of a long clip that are listened to, at most, until one is sure of the language",
        int,
        low=1,
        high=MAX_DETECTION_WINDOWS,
    )
    language_detection_threshold: float = _choice(
        0.5,
        "a window is sure whose language is more probable; if none is, most of them decide",
        float,
        low=0.0,
        high=1.0,
    )
    vad_filter: bool = _choice(
        False,
        "only stretches with a voice in them are decoded, each by itself; they are looked for beforehand",
        bool,
    )
    vad_threshold: float = _choice(
        0.5,
        "a voice begins with this probability, and lasts while it is less than 0.15 below",
        float,
        low=0.01,
        high=0.99,
    )
    vad_min_speech_duration_ms: int = _choice(0, "shorter voices are left out", int, low=0, high=10_000, unit="ms")
    vad_min_silence_duration_ms: int = _choice(
        2000, "a shorter pause does not end a stretch", int, low=0, high=60_000, unit="ms"
    )
    vad_speech_pad_ms: int = _choice(
        400, "what is decoded before and behind each voice", int, low=0, high=10_000, unit="ms"
    )
    hallucination_silence_threshold: float | None = _choice(
        None,
        "segments with words of odd length and little probability are passed over, and decoded anew from their"
        " beginning, where silence is longer than this before and behind them",
        float,
        nullable=True,
        low=0.1,
        high=30.0,
        unit="s",
    )
    grammar: str | None = _choice(
        None,
        "what the text of a window may be, in GBNF as of whisper.cpp; a blank before the text is no part of it",
        str,
        nullable=True,
        longest=MAX_CHARS,
    )
    grammar_rule: str = _choice("root", "the rule that the text is to be", str, longest=100)
    grammar_penalty: float = _choice(
        FORBIDDEN,
        "taken from the log-probability of what the grammar does not have; 100: it never comes",
        float,
        low=0.0,
        high=FORBIDDEN,
    )


def _choices() -> dict[str, Choice]:
    return {f.name: Choice(f.name, f.default, **f.metadata) for f in dataclasses.fields(Options) if f.metadata}


CHOICES: Final[Mapping[str, Choice]] = _choices()
"""By name, in the order in which they are documented."""


def read(values: Mapping[str, object], where: str = "", *, live: bool = False) -> Options:
    """Options of JSON values; names that are no choice are ignored.

    Args:
        values: such as the data of an event.
        where: what the errors begin with, such as the event's type.
        live: of live speech, for which not everything can be chosen.

    Raises:
        BadOption: a wrong type or value, or a choice that is not for live speech.
    """
    options = _made({n: c.read(values[n], where) for n, c in CHOICES.items() if n in values}, where)
    if live and (name := not_live(options)):
        raise BadOption(f"{where}: {name} cannot be chosen for live speech", name)
    return options


def not_live(options: Options) -> str:
    """The name of a choice that keeps a clip from being followed while it is spoken; "" where there is none."""
    others = (c for c in CHOICES.values() if not c.live and getattr(options, c.name) != c.default)
    return next((choice.name for choice in others), "")


def read_texts(values: Mapping[str, str], where: str = "") -> Options:
    """The same of texts: the fields of a form, the flags of a command."""
    return _made({n: c.read_text(values[n], where) for n, c in CHOICES.items() if n in values}, where)


def _made(chosen: dict[str, Any], where: str) -> Options:
    times = chosen.get("clip_timestamps", ())
    if any(after <= before for before, after in zip(times, times[1:], strict=False)):
        name = "clip_timestamps"
        raise BadOption(f"{where}: {name} must rise" if where else f"{name} must rise", name)
    if grammar := chosen.get("grammar"):
        try:
            parse(grammar, chosen.get("grammar_rule", CHOICES["grammar_rule"].default))
        except GrammarError as error:
            why = f"grammar cannot be read: {error}"
            raise BadOption(f"{where}: {why}" if where else why, "grammar") from None
    if language := chosen.get("language"):
        # BCP 47, as in "en-GB" or "pt_BR": Whisper knows languages, not regions.
        chosen["language"] = re.split("[-_]", language, maxsplit=1)[0].lower()
    return Options(**chosen)
