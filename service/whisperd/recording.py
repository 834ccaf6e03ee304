"""Recordings of any length through a client of the daemon: sent in pieces, answered as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from whisperd.audio.files import Source, open_audio
from whisperd.audio.pieces import Piece, joined_text, pieces, weighted
from whisperd.client import Client, ServerError, Transcript
from whisperd.errors import BadOption
from whisperd.piecewise import Answer, changes
from whisperd.speech.options import CHOICES, read

if TYPE_CHECKING:
    from whisperd.wire import JsonObject

PIECE_SECONDS: Final = 120.0
"""Long enough that its last third has a pause to cut at; short: it shows how far it is, and lets others in."""

TRIES: Final = 5
RETRY_SECONDS: Final = 2.0
"""Between tries to have a piece answered that was refused for now: a full queue, a daemon that is restarted."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType(
    {"text": "", "language": None, "audio_seconds": 0.0, "segments": [], "no_speech": "no-voice"}
)
"""The answer where no part of a recording was meant."""

_TIMES: Final = ("queue_ms", "features_ms", "encode_ms", "decode_ms", "fallbacks")


def transcribe_recording(
    client: Client,
    source: Source,
    *,
    options: Mapping[str, object] | None = None,
    on_queued: Callable[[int], None] | None = None,
    on_progress: Callable[[float, float | None], None] | None = None,
) -> Transcript:
    """Transcribe a recording of any length, with the memory of one piece and its texts.

    What is chosen holds of the whole: see `piecewise`.

    Args:
        source: as `audio.files.open_audio`. A pipe's content is held in memory, up to `audio.files.MAX_BYTES`.
        options: language, task, and what else docs/protocol.md has for a clip.
        on_queued: as `Client.transcribe`.
        on_progress: called before each piece is sent with the seconds that are done, and how many there are in
            all; None where only the recording's end tells.

    Raises:
        BadAudio, BadFormat, AudioTooLong, OSError: as `audio.files.open_audio`.
        ClientError: as `Client.transcribe`; what may pass is tried a few times, once there is a piece to lose.
    """
    parts: list[tuple[float, Transcript]] = []
    with open_audio(source) as audio:
        for piece in pieces(audio.blocks(), min(PIECE_SECONDS, client.max_clip_seconds)):
            if on_progress is not None:
                on_progress(piece.offset_s, audio.seconds)
            chosen = _options(options or {}, piece, [part for _, part in parts])
            if chosen is None:
                continue
            answer = _answered(client, piece, chosen, on_queued, TRIES if parts else 1)
            parts.append((piece.offset_s, answer))
    return join_answers(parts) if parts else Transcript("", None, 0.0, dict(_NOTHING))


def _answered(
    client: Client,
    piece: Piece,
    options: Mapping[str, object],
    on_queued: Callable[[int], None] | None,
    tries: int,
) -> Transcript:
    """The answer to a piece; where others have been answered, one refusal is not to cost them."""
    while True:
        try:
            return client.transcribe(piece.pcm, priority="file", options=options, on_queued=on_queued)
        except ServerError as error:
            tries -= 1
            if not error.retry or not tries:
                raise
        client.close()
        time.sleep(RETRY_SECONDS)
        client.connect()


def _options(
    options: Mapping[str, object], piece: Piece, before: Sequence[Transcript]
) -> dict[str, object] | None:
    """What is chosen for a piece, after the answers to those before it; None where nothing of it is meant."""

    def option(name: str) -> object:
        value = options.get(name)
        return CHOICES[name].default if value is None else value

    try:
        times = read({"clip_timestamps": options.get("clip_timestamps")}).clip_timestamps
    except BadOption:
        return dict(options)  # the daemon says what is wrong with them
    if times:
        options = {**options, "clip_timestamps": times}
    answers = [_answer(answer) for answer in before]
    changed = changes(option, piece.offset_s, piece.end_s, answers, later=piece.offset > 0)
    return None if changed is None else {**options, **changed}


def _answer(answer: Transcript) -> Answer:
    last = (answer.data.get("segments") or [{}])[-1].get("temperature")
    # The daemon tells of several languages where it has chosen among them.
    return Answer(
        answer.text,
        answer.language,
        bool(answer.data.get("languages")),
        last if isinstance(last, (int, float)) else 0.0,
    )


def join_answers(parts: Sequence[tuple[float, Transcript]]) -> Transcript:
    """The answers to a recording's pieces as one: as `audio.pieces.join`, of what came over the wire.

    Args:
        parts: (where the piece begins, in seconds; its answer), in order; one at least.
    """
    answers = [answer for _, answer in parts]
    if len(answers) == 1:
        return answers[0]
    spoken = [answer for answer in answers if answer.text]
    leading = (spoken or answers)[0]
    seconds = sum(answer.audio_seconds for answer in answers)
    data: JsonObject = {
        "text": joined_text((answer.text, answer.language) for answer in spoken),
        "language": leading.language,
        "audio_seconds": round(seconds, 3),
    }
    for name in _TIMES:
        if values := _numbers(answers, name):
            data[name] = round(sum(value for value, _ in values), 3)
    for name, of in (("rtf", answers), ("confidence", spoken)):
        if values := _numbers(of, name):
            data[name] = round(weighted(values), 3)
    data["segments"] = [
        _shifted(segment, offset) for offset, answer in parts for segment in answer.data.get("segments", [])
    ]
    if languages := leading.data.get("languages"):
        data["languages"] = languages
    if not spoken:
        reasons = [str(answer.data.get("no_speech")) for answer in answers]
        data["no_speech"] = next((reason for reason in reasons if reason != "no-voice"), "no-voice")
    return Transcript(data["text"], leading.language, seconds, data)


def _numbers(answers: Sequence[Transcript], name: str) -> list[tuple[float, float]]:
    """(value, seconds of audio) of the answers that have a number there."""
    found = [(answer.data.get(name), answer.audio_seconds) for answer in answers]
    return [(value, seconds) for value, seconds in found if isinstance(value, (int, float))]


def _shifted(value: Any, offset: float) -> Any:
    """A segment, or a word of it, that much later."""
    moved = dict(value)
    for name in ("start", "end"):
        if isinstance(moved.get(name), (int, float)):
            moved[name] = round(moved[name] + offset, 3)
    if isinstance(moved.get("words"), list):
        moved["words"] = [_shifted(word, offset) for word in moved["words"]]
    return moved
