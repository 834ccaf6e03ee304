"""Recordings of any length through a client of the daemon: sent in pieces, answered as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from whisperd.audio.files import Source, open_audio
from whisperd.audio.pieces import Piece, joined_text, pieces, prompt_of, weighted, within
from whisperd.client import Client, ServerError, Transcript

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

    A language that was detected in the first piece with text is that of the others, unless `multilingual` is
    chosen. A `prefix` is that of the first piece; an initial prompt is every piece's, if the text so far is not:
    it is not where the prompt is to be carried, so that a piece then begins without the text before it.

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
    chosen = dict(options)
    if isinstance(times := chosen.get("clip_timestamps"), (list, tuple)) and times:
        chosen["clip_timestamps"] = within(times, piece.offset_s, piece.end_s)
        if not chosen["clip_timestamps"]:
            return None
    if not before:
        return chosen
    chosen.pop("prefix", None)
    if chosen.get("without_timestamps") is None:
        chosen["without_timestamps"] = False  # the recording is long, even if its last piece is not
    spoken = [answer for answer in before if answer.text]
    if not spoken:
        return chosen
    # The daemon tells of several languages where it has chosen among them.
    if not chosen.get("multilingual") and spoken[0].data.get("languages"):
        chosen["language"] = spoken[0].language
    cool = not _was_hot(spoken[-1], chosen.get("prompt_reset_on_temperature", 0.5))
    if chosen.get("condition_on_previous_text") and cool and not chosen.get("carry_initial_prompt"):
        chosen["initial_prompt"] = prompt_of((answer.text, answer.language) for answer in spoken)
    return chosen


def _was_hot(answer: Transcript, limit: object) -> bool:
    """Whether an answer's end needed a higher temperature."""
    last = (answer.data.get("segments") or [{}])[-1].get("temperature")
    return isinstance(last, (int, float)) and isinstance(limit, (int, float)) and last > limit


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
