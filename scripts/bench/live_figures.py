"""What one clip, played into the daemon at the pace of speech, came to. Pure: samples and timed events in."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
import speech
from whisperd.audio.pcm import SAMPLE_RATE, Int16Samples

from .livewire import Came

FRAME = SAMPLE_RATE // 100
"""10 ms: what is speech and what is not is told by the energy of these."""

SPEECH_DB = 25.0
"""Speech is what is within this of the loudest frame."""

PAUSE = 20
"""Frames: shorter gaps belong to the speech, as closures of "t" and "p" do."""

LEAST = 8
"""Frames: what is shorter is a click, or the end of a word that was cut off before the clip began."""

TARGETS: Mapping[str, float] = {
    "first_partial_s": 1.0,
    "partial_gap_s": 1.0,
    "final_after_endpoint_s": 0.35,
    "final_after_speech_s": 0.95,
    "words_worse": 1.0,
}
"""At most so much, by the name of the figure."""


@dataclass(frozen=True)
class Take:
    """One clip as it was played, and all that the daemon said.

    Attributes:
        pcm: the clip, without the quiet around it.
        origin: monotonic time of the stream's first sample.
        at: monotonic time at which the clip's first sample was spoken.
        one_shot: the same daemon's text of the same clip, sent at once.
        cpu_s: the daemon's CPU time for the stream.
    """

    clip: speech.Clip
    policy: str
    pcm: Int16Samples
    origin: float
    at: float
    events: Sequence[Came]
    one_shot: str
    cpu_s: float


@dataclass(frozen=True)
class Figures:
    """Of one clip. Seconds are wall time.

    Attributes:
        speech_s: how long the clip's speech is, pauses over 0.2 s left out.
        onset_found_s: the start of the first utterance as the daemon has it, less the first word's; most often
            negative, since an utterance begins 0.3 s before its voice.
        first_partial_s: from the first word to the first text, right or wrong.
        first_right_s: from the first word to the first text that begins with it, and went on doing so.
        partial_gap_s: the most speech between two texts, and between the last and the end of the speech.
        stands_after_s: mean over all words, from the word's end to its standing. Where a word ends is estimated
            by its share of the letters.
        shown_after_s: mean over all words, from the word's end to its being shown for good; negative for a word
            that was seen coming.
        final_after_endpoint_s: from `voice-stopped` to `transcript`, the worst utterance.
        final_after_speech_s: from the last sample of speech to `transcript`, the worst utterance.
        errors, one_shot_errors: words that are wrong, live and in one piece.
        changes_per_s: partial texts that take back or change a word that was shown, per second of speech.
        broken: what must never be: stable text that changed, answers that lack or are out of order, audio lost.
    """

    clip: str
    policy: str
    speech_s: float
    onset_found_s: float
    first_partial_s: float
    first_right_s: float
    partial_gap_s: float
    stands_after_s: float
    shown_after_s: float
    final_after_endpoint_s: float
    final_after_speech_s: float
    words: int
    errors: int
    one_shot_errors: int
    words_worse: float
    utterances: int
    partials: int
    changes_per_s: float
    cpu_s: float
    text: str
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Word:
    """A word of a final text, and on the monotonic clock when it ended (an estimate), was shown for good, stood,
    and was final."""

    text: str
    spoken: float
    shown: float
    stood: float
    final: float


@dataclass
class Said:
    """One utterance as it was told."""

    number: int
    stopped_at: float = float("nan")
    partials: list[Came] = field(default_factory=list)
    answer: Came | None = None

    @property
    def text(self) -> str:
        """Its final text."""
        return str(self.answer.data.get("text", "")) if self.answer else ""


def energy(pcm: Int16Samples) -> npt.NDArray[np.float64]:
    """Loudness of each 10 ms in dB of full scale, -96 at the least: float64[frames]."""
    whole = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64) / 32768
    found: npt.NDArray[np.float64] = 10 * np.log10(np.maximum((whole**2).mean(axis=1), 10**-9.6))
    return found


def speech_frames(pcm: Int16Samples) -> npt.NDArray[np.bool_]:
    """Which 10 ms of a clean clip are speech: bool[frames]."""
    loudness = energy(pcm)
    loud = loudness >= loudness.max() - SPEECH_DB
    edges = np.flatnonzero(np.diff(np.r_[False, loud, False].astype(np.int8))).reshape(-1, 2)
    runs: list[list[int]] = []
    for begin, end in edges.tolist():
        if runs and begin - runs[-1][1] < PAUSE:
            runs[-1][1] = end
        else:
            runs.append([begin, end])
    speaking = np.zeros(len(loud), np.bool_)
    for begin, end in runs:
        speaking[begin:end] = end - begin >= LEAST
    return speaking


def told(events: Iterable[Came]) -> list[Said]:
    """The utterances of a stream, in the order in which they were numbered."""
    found: dict[int, Said] = {}
    stops: list[float] = []
    for came in events:
        if came.kind == "voice-stopped":
            stops.append(came.at)
        if "utterance" not in came.data:
            continue
        said = found.setdefault(int(came.data["utterance"]), Said(int(came.data["utterance"])))
        if came.kind == "partial":
            said.partials.append(came)
        elif came.kind in ("transcript", "no-speech"):
            said.answer = came
    utterances = [found[number] for number in sorted(found)]
    for said, stop in zip(utterances, stops, strict=False):
        said.stopped_at = stop
    return utterances


def figures(take: Take) -> Figures:
    """What a take came to."""
    speaking = speech_frames(take.pcm)
    spoken = np.flatnonzero(speaking)
    onset, end = take.at + spoken[0] / 100, take.at + (spoken[-1] + 1) / 100
    utterances = told(take.events)
    texts = [came for said in utterances for came in said.partials if _shown(came).strip()]
    started = [came for came in take.events if came.kind == "voice-started"]
    text = " ".join(said.text for said in utterances if said.text)
    errors = speech.word_errors(take.clip.text, text)
    one_shot_errors = speech.word_errors(take.clip.text, take.one_shot)
    words = [word for said in utterances for word in _words(said, take, spoken)]
    speech_s = len(spoken) / 100
    finals = [said for said in utterances if said.text and said.answer]
    return Figures(
        clip=take.clip.name,
        policy=take.policy,
        speech_s=speech_s,
        onset_found_s=take.origin + started[0].data["timestamp"] / 1000 - onset if started else float("nan"),
        first_partial_s=texts[0].at - onset if texts else float("nan"),
        partial_gap_s=_gap(
            [came.at for came in texts] + [s.answer.at for s in finals if s.answer], end, take, speaking
        ),
        first_right_s=words[0].shown - onset if words else float("nan"),
        stands_after_s=_mean(word.stood - word.spoken for word in words),
        shown_after_s=_mean(word.shown - word.spoken for word in words),
        final_after_endpoint_s=max((s.answer.at - s.stopped_at for s in finals if s.answer), default=float("nan")),
        final_after_speech_s=max((_after_speech(said, take, spoken) for said in finals), default=float("nan")),
        words=len(speech.words(take.clip.text)),
        errors=errors,
        one_shot_errors=one_shot_errors,
        words_worse=float(errors - one_shot_errors),
        utterances=len(utterances),
        partials=sum(len(said.partials) for said in utterances),
        changes_per_s=sum(_changes(said) for said in utterances) / speech_s,
        cpu_s=take.cpu_s,
        text=text,
        broken=tuple(_broken(take, utterances)),
    )


def word_times(take: Take) -> list[Word]:
    """All words of the final texts of a take."""
    spoken = np.flatnonzero(speech_frames(take.pcm))
    return [word for said in told(take.events) for word in _words(said, take, spoken)]


def median(of: Sequence[Figures]) -> Figures:
    """The median of each number over the rounds of one clip; text and what was broken of all."""
    values = {}
    for one in fields(Figures):
        column = [getattr(figure, one.name) for figure in of]
        number = isinstance(column[0], int | float)
        values[one.name] = type(column[0])(statistics.median(column)) if number else column[-1]
    values["broken"] = tuple(text for figure in of for text in figure.broken)
    values["errors"] = round(values["errors"])
    return Figures(**values)


def unmet(figure: Figures) -> list[str]:
    """Names of the figures that miss their target. What was not measured misses it."""
    return [name for name, most in TARGETS.items() if not getattr(figure, name) <= most]


# --- pieces ---------------------------------------------------------------------------------------------------


def _shown(came: Came) -> str:
    return str(came.data["stable"]) + str(came.data["unstable"])


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return statistics.fmean(listed) if listed else float("nan")


def _gap(times: list[float], end: float, take: Take, speaking: npt.NDArray[np.bool_]) -> float:
    """The most speech between two of these times, the last of them the end of the speech."""
    times = sorted(at for at in times if at < end) + [end]
    frames = [round(100 * (at - take.at)) for at in times]
    return max(
        (float(speaking[a:b].sum()) / 100 for a, b in zip(frames, frames[1:], strict=False)), default=float("nan")
    )


def _span(said: Said, take: Take, spoken: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Times at which the speech frames of an utterance end."""
    assert said.answer is not None
    ends: npt.NDArray[np.float64] = take.at + (spoken + 1) / 100
    first, last = (take.origin + float(said.answer.data[name]) for name in ("start", "end"))
    return ends[(ends > first) & (ends <= last + 0.02)]


def _after_speech(said: Said, take: Take, spoken: npt.NDArray[np.int64]) -> float:
    span = _span(said, take, spoken)
    return said.answer.at - float(span[-1]) if said.answer and len(span) else float("nan")


def _words(said: Said, take: Take, spoken: npt.NDArray[np.int64]) -> list[Word]:
    words = said.text.split()
    if not words or said.answer is None or not len(span := _span(said, take, spoken)):
        return []
    letters = np.cumsum([len(word) + 1 for word in words])
    ends = span[np.maximum((letters * len(span)) // letters[-1], 1) - 1]
    plain = [_plain(word) for word in words]
    found = []
    for i, end in enumerate(ends):
        stood = shown = said.answer.at
        for came in reversed(said.partials):
            if [_plain(word) for word in _shown(came).split()[: i + 1]] != plain[: i + 1]:
                break
            shown = came.at
        for came in said.partials:
            if len(str(came.data["stable"]).split()) > i:
                stood = came.at
                break
        found.append(Word(words[i], float(end), min(shown, stood), stood, said.answer.at))
    return found


def _changes(said: Said) -> int:
    count, before = 0, list[str]()
    for came in said.partials:
        now = [_plain(word) for word in _shown(came).split()]
        count += now[: len(before)] != before
        before = now
    return count


def _plain(word: str) -> str:
    return " ".join(speech.words(word))


def _broken(take: Take, utterances: list[Said]) -> Iterable[str]:
    if [said.number for said in utterances] != list(range(len(utterances))):
        yield "utterances are not numbered from 0 without a gap"
    for said in utterances:
        stable, revision = "", -1
        for came in said.partials:
            if not str(came.data["stable"]).startswith(stable):
                yield f"stable text changed: {stable!r} to {came.data['stable']!r}"
            if came.data["revision"] <= revision:
                yield f"revision {came.data['revision']} after {revision}"
            stable, revision = str(came.data["stable"]), int(came.data["revision"])
        if said.answer is None:
            yield f"utterance {said.number} has no answer"
        elif not said.text.startswith(stable):
            yield f"the final text does not begin with what stood: {stable!r}, {said.text!r}"
    answered = [came.data["utterance"] for came in take.events if came.kind in ("transcript", "no-speech")]
    if answered != sorted(set(answered)):
        yield f"answers out of order: {answered}"
    for came in take.events:
        if came.kind in ("overrun", "error", "mic-lost"):
            yield f"{came.kind}: {dict(came.data)}"
