"""Does a window's text account for all the voice in it? If not, which of it stands, and where to go on. Pure.

The reference goes by the times that the decoder tells, which are whole seconds off at times: a sentence is then
decoded twice, or never. Here the words' own times (`alignment`) and the detector of voices decide. A word that
lasts for seconds has swallowed what the decoder passed over; voice behind the last word was not decoded; and
where the window had to end within speech, its last word is no whole one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .features import SAMPLE_RATE
from .types import Control, Int16Samples
from .vad import VoiceDetector
from .windows import quietest
from .words import Timed, usual_seconds

#: A word this much longer than two usual ones is looked at, and has swallowed something if there is so much voice
#: more in it than those have. Seconds.
SWALLOWED_S = 1.0
#: Seconds of voice behind the last word that are worth another window, which begins so long before the voice.
UNHEARD_VOICE_S, LEAD_S = 0.4, 0.3
#: Of a window that ends within speech, words that reach into its last seconds are not believed.
BROKEN_S = 0.3
#: Nobody says words in so little time, and so many of them at a window's end were made up behind what was said.
NO_TIME_S, NO_TIME_WORDS = 0.04, 4
#: A window is cut in the quietest place of so many seconds before the word.
QUIET_WITHIN_S = 2.0
#: Windows advance by so many seconds at least, or they might never end.
LEAST_ADVANCE_S = 1.0


@dataclass(frozen=True)
class Verdict:
    """What is done with a window's text.

    Attributes:
        words: how many of its words stand.
        following_s: where the next window begins, seconds from this one's start.
        until_s: where the next window is to end, or None: where it likes. Only with a `following_s` of 0: the same
            window once more, without its end.
    """

    words: int
    following_s: float
    until_s: float | None = None


class Coverage:
    """Judges windows with a detector of voices."""

    def __init__(self, voice: VoiceDetector) -> None:
        self._voice = voice

    def judge(
        self,
        pcm: Int16Samples,
        words: Sequence[Timed],
        control: Control,
        *,
        ends: bool,
        whole: bool,
        closing: str = "",
    ) -> Verdict:
        """Judge one window.

        Args:
            pcm: int16[n] of the window, at 16 kHz.
            words: of its text, at least one, in seconds from its start.
            ends: whether the clip ends with the window.
            whole: whether the window may not be cut any shorter.
            closing: marks that belong to the word before them. One that has swallowed something stands itself.
        """
        seconds = len(pcm) / SAMPLE_RATE
        words = words[: said(words)]
        usual = usual_seconds(words)
        for count, word in enumerate(words):
            if word.seconds < 2 * usual + SWALLOWED_S:
                continue
            _, voiced = self._voice.stretch(_part(pcm, word.start_s, word.end_s), control)
            if voiced < 2 * usual + SWALLOWED_S:
                continue
            if word.start_s >= LEAST_ADVANCE_S:
                mark = bool(word.text) and word.text in closing
                return Verdict(count + mark, word.start_s)
            until = None if whole else self._before(pcm, word, usual)
            if until is not None:
                return Verdict(0, 0.0, until)
        if not ends and self._voice.ends_in_voice(pcm, control):
            broken = [word.end_s > seconds - BROKEN_S for word in words]
            count = broken.index(True) if True in broken else len(words)
            if 0 < count < len(words) and words[count].start_s >= LEAST_ADVANCE_S:
                return Verdict(count, words[count].start_s)
        spoken = words[-1].end_s
        onset, voiced = self._voice.stretch(_part(pcm, spoken, seconds), control)
        following = spoken + max(0.0, onset - LEAD_S)
        if voiced >= UNHEARD_VOICE_S:
            # Behind a very short first word as well: one may be cut so, but else the rest of the window is lost.
            return Verdict(len(words), min(seconds, max(following, LEAST_ADVANCE_S)))
        return Verdict(len(words), seconds)

    @staticmethod
    def _before(pcm: Int16Samples, word: Timed, usual: float) -> float | None:
        """A quiet place before a word that has swallowed what came before it, if a window can be cut there."""
        # Far enough from both ends, or it would be no other window, or none at all.
        latest = min(word.end_s - usual / 2, len(pcm) / SAMPLE_RATE - LEAST_ADVANCE_S)
        earliest = max(word.start_s, latest - QUIET_WITHIN_S, LEAST_ADVANCE_S)
        if latest < earliest:
            return None
        return earliest + quietest(_part(pcm, earliest, latest)) / SAMPLE_RATE


def said(words: Sequence[Timed]) -> int:
    """How many words of a window were said: all but those at its end that have no time.

    When a decoder does not notice the end, it goes on with what it likes; and since all the audio has been told,
    the alignment has no place left for that. Of a text that has no time at all, nothing is known.
    """
    kept = len(words)
    while kept and words[kept - 1].seconds <= NO_TIME_S:
        kept -= 1
    timeless = sum(any(map(str.isalnum, word.text)) for word in words[kept:])
    return kept if kept and timeless >= NO_TIME_WORDS else len(words)


def _part(pcm: Int16Samples, start_s: float, end_s: float) -> Int16Samples:
    return pcm[round(start_s * SAMPLE_RATE) : round(end_s * SAMPLE_RATE)]
