"""What the fields of a form, or the members of a JSON body, ask for. Pure.

The choices for a clip are those of `speech.options`, with the same names, ranges and words; here is what HTTP has
beside them. Every name is known or refused: a misspelt option that is ignored would be a wrong answer.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ..errors import UnknownModel
from ..protocol import Priority
from ..speech import options
from ..speech.choice import Choice
from ..speech.options import CHOICES, Options
from ..speech.types import ModelInfo
from .problems import BadField, MissingField, UnknownField

FILE, FILE_BASE64, FILE_OPENAI = "audio_file", "audio_base64", "file"

PRIORITIES: Final = {"final": Priority.FINAL, "file": Priority.FILE}

EXTRAS: Final = {
    choice.name: choice
    for choice in (
        Choice(
            "normalize", False, "raise a quiet recording to a peak of -1 dB of full scale, by at most 30 dB", bool
        ),
        Choice(
            "trim_silence",
            False,
            "cut what lies before the first and behind the last voice; times stay the file's",
            bool,
        ),
        Choice(
            "priority",
            "final",
            '"final", or "file" for work that waits behind all others',
            str,
            values=tuple(PRIORITIES),
        ),
    )
}
"""Of POST /transcribe and /transcribe/base64, beside `speech.options.CHOICES`."""

FORMATS: Final = ("json", "text", "srt", "verbose_json", "vtt")
GRANULARITIES: Final = ("segment", "word")
ALIAS: Final = "whisper-1"
"""What clients call the model who know no other."""

OPENAI: Final = {
    choice.name: choice
    for choice in (
        Choice("model", None, f'the loaded model\'s name, or "{ALIAS}"', str, nullable=True, longest=200),
        replace(CHOICES["language"], live=False),
        replace(CHOICES["initial_prompt"], name="prompt"),
        Choice("response_format", "json", "how the answer is written", str, values=FORMATS),
        Choice(
            "temperature",
            0.0,
            "0: as the daemon does by itself, which tries again where a text is improbable; else only this",
            float,
            low=0.0,
            high=2.0,
        ),
        Choice("stream", False, "server-sent events: the text as it is found", bool),
        Choice(
            "chunking_strategy", None, '"auto", which is what is done anyway', str, nullable=True, values=("auto",)
        ),
    )
}
"""Of the OpenAI API's two endpoints; `timestamp_granularities[]` comes beside them, and the rest of CHOICES."""

OPENAI_MANY: Final = "timestamp_granularities[]"
_NOT_OPENAI: Final = ("task", "initial_prompt", "word_timestamps")  # said by the path and the fields above
OPENAI_CHOICES: Final = {name: c for name, c in CHOICES.items() if name not in (*OPENAI, *_NOT_OPENAI)}
_EMPTY_ONLY: Final = ("include[]",)  # sent by the client's library, for what nobody here has

Texts = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Wanted:
    """What is to be done with each file of a request."""

    options: Options = Options()
    priority: Priority = Priority.FINAL
    normalize: bool = False
    trim_silence: bool = False


@dataclass(frozen=True)
class OpenAiWanted:
    """The same, and how OpenAI's API wants it said."""

    wanted: Wanted
    response_format: str = "json"
    granularities: frozenset[str] = frozenset()
    stream: bool = False


def read_form(texts: Texts) -> Wanted:
    """The fields of POST /transcribe, without its files.

    Raises:
        UnknownField, BadField, BadOption: naming the field.
    """
    values = _once(texts, (FILE, *EXTRAS, *CHOICES))
    extras = {name: choice.read_text(values[name], "") for name, choice in EXTRAS.items() if name in values}
    return _wanted(options.read_texts(values), extras)


def read_json(values: Mapping[str, object]) -> Wanted:
    """The members of POST /transcribe/base64, without the audio; raises as `read_form`."""
    for name in values:
        _known(name, (FILE_BASE64, *EXTRAS, *CHOICES))
    extras = {name: choice.read(values[name], "") for name, choice in EXTRAS.items() if name in values}
    return _wanted(options.read(values), extras)


def _wanted(chosen: Options, extras: Mapping[str, Any]) -> Wanted:
    priority = PRIORITIES[extras.get("priority") or "final"]
    return Wanted(chosen, priority, bool(extras.get("normalize")), bool(extras.get("trim_silence")))


def read_openai(texts: Texts, model: ModelInfo, task: str) -> OpenAiWanted:
    """The fields of an OpenAI request, without its file.

    Raises:
        UnknownModel: another model is asked for.
        UnknownField, BadField, BadOption: naming the field.
    """
    single: list[tuple[str, str]] = []
    granularities: set[str] = set()
    for name, text in texts:
        if name in (OPENAI_MANY, OPENAI_MANY[:-2]):
            if text not in GRANULARITIES:
                known = " or ".join(GRANULARITIES)
                raise BadField(f"{name} must be {known}, not {reprlib.repr(text)}", name)
            granularities.add(text)
        elif name in _EMPTY_ONLY:
            raise BadField(f"{name}: {reprlib.repr(text)} is nothing that this daemon can include", name)
        else:
            single.append((name, text))
    values = _once(single, (FILE_OPENAI, OPENAI_MANY, *OPENAI, *OPENAI_CHOICES))
    own = {n: choice.read_text(values[n], "") for n, choice in OPENAI.items() if n in values}
    check_model(own.get("model"), model)
    rest = {name: text for name, text in values.items() if name in OPENAI_CHOICES or name == "language"}
    chosen = replace(
        options.read_texts(rest),
        task=task,
        initial_prompt=own.get("prompt"),
        word_timestamps="word" in granularities,
    )
    if temperature := own.get("temperature"):
        chosen = replace(chosen, temperature=(temperature,))
    written = own.get("response_format", "json")
    stream = own.get("stream", False)
    if stream and written not in ("json", "text"):
        raise BadField(
            f"response_format must be json or text where stream is true, not {written}", "response_format"
        )
    return OpenAiWanted(Wanted(chosen), written, frozenset(granularities), stream)


def check_model(name: str | None, model: ModelInfo) -> None:
    """Raise UnknownModel where a model is named that is not the loaded one."""
    if name is not None and name not in (model.name, ALIAS):
        raise UnknownModel(f"model {reprlib.repr(name)} is not loaded; {model.name!r} is, also called {ALIAS!r}")


def need_files(count: int, field: str) -> None:
    """Raise MissingField where there is none."""
    if not count:
        raise MissingField(f"{field} is missing: a part of the form with a filename", field)


def _once(texts: Texts, known: Iterable[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, text in texts:
        _known(name, known)
        if name in values:
            raise BadField(f"{name} comes twice", name)
        values[name] = text
    return values


def _known(name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        close = difflib.get_close_matches(name[:100], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        raise UnknownField(f"unknown field {reprlib.repr(name)}; {hint}", name[:100])
