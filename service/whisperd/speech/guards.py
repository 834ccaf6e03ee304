"""What was decoded, was it said? Whisper finds words in noise: these rules take them away, and none that was said.

The reference (openai/whisper, decoding.py and transcribe.py; Radford et al. 2022, section 4.5) goes by the
decoder's own doubt. Here something is known that it does not ask for: for how long a voice was heard. Where it was
for long, the decoder must be very sure that nobody spoke; where it hardly was, little doubt is enough. The figures
are from 860 decodings of noise and 1484 of voices (docs/models.md), and err on the side of words.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

from .decoding import LOOP_MAX_PERIOD, LOOP_MIN_TOKENS, LOOP_REPEATS, Decoded
from .options import Options
from .types import DOUBTFUL, NO_VOICE, SILENCE

#: Nobody spoke if the no-speech probability is over the first and the mean log-probability under the second: the
#: reference's rule, for where nobody asked for a voice.
NO_SPEECH_PROB, NO_SPEECH_LOGPROB = 0.6, -1.0
#: Its first number where one was heard: voices in white noise and rain have up to 0.73, a wiper alone 0.75.
HEARD_NO_SPEECH_PROB = 0.74
#: The reference's: a text that repeats itself, and one that is worth another try.
MAX_COMPRESSION_RATIO = 2.4
FALLBACK_LOGPROB = -1.0

#: So many words that come twice in a row: over the silent tail, the decoder sometimes does not notice that it has
#: come to the end, and begins again.
TWICE_MIN_WORDS = 4

#: Seconds of voice that make it certain that somebody spoke: the shortest words ("no", "you", "up") have 0.19 to
#: 0.3, what is taken for a voice in music, tones and wipers most often less.
CERTAIN_VOICE_S = 0.25
#: With less voice than this, and no more than this share of what was heard, as in music, less doubt is enough.
LITTLE_VOICE_S, LITTLE_VOICE_SHARE = 0.5, 0.4
LITTLE_NO_SPEECH_PROB, LITTLE_LOGPROB = 0.68, -1.2
#: Without certainty, a no-speech probability that is so high needs less doubt: "you" in a hum has 0.93 to 0.98,
#: "thank you" in music 0.82, the shortest voice at most 0.81.
SURE_NO_SPEECH_PROB, SURE_NO_SPEECH_LOGPROB = 0.82, -0.5
#: Mean log-probability and no-speech probability of a guess, as of what is made of an engine or a whistle: with a
#: certain voice, and without.
CERTAIN_GUESS = (-2.2, 0.5)
GUESS = (-1.65, 0.4)
#: Tokens left of a decoding that was nothing but a loop.
_ONLY_LOOP = 4
#: Without a certain voice, as good as random.
HOPELESS_LOGPROB = -2.5

#: Nobody says more words than this: some, and so many in a second of voice.
_WORDS, _WORDS_PER_S = 3, 8.0

#: What Whisper learnt from the ends of subtitles. Last resort: only with hardly a voice, and with some doubt.
_PHANTOMS = frozenset(
    ("you", "thank you", "thanks", "thanks for watching", "thank you for watching", "bye", "bye bye", "the end")
)
_PHANTOM_NO_SPEECH_PROB = 0.5

#: A text that is nothing but a remark on the sound: [Music], (beeping), *sigh*, and notes.
_REMARK = re.compile(r"(?:\s*(?:\[[^\]]*\]|\([^)]*\)|\*[^*]*\*|♪[^♪]*♪?)\s*[.!?…]*)+\s*")


def compression_ratio(text: str) -> float:
    """Bytes of a text through its bytes when compressed, as the reference has it: under 2 for what people say.

    >>> compression_ratio("Turn left. " * 20) > MAX_COMPRESSION_RATIO
    True
    """
    plain = text.strip().encode()
    return len(plain) / len(zlib.compress(plain))


def without_repeats(tokens: Sequence[int]) -> tuple[int, ...]:
    """`tokens` with every loop in them reduced to its first round, what it is broken off in included.

    What is a loop is said in `decoding`: three rounds and more, of 15 tokens and more altogether.

    >>> without_repeats([9, *[1, 2, 3, 4, 5] * 4, 1, 2, 7])
    (9, 1, 2, 3, 4, 5, 7)
    """
    kept: list[int] = []
    at = 0
    while at < len(tokens):
        period, length = _loop_at(tokens, at)
        kept += tokens[at : at + (period or 1)]
        at += length or 1
    return tuple(kept)


def said_twice(text: str) -> bool:
    """Whether a text ends with the same words twice in a row, and they are too many for somebody to repeat.

    >>> said_twice("Turn the light on. Turn the light on")
    True
    """
    said = _plain(text).split()
    return any(said[-count:] == said[-2 * count : -count] for count in range(TWICE_MIN_WORDS, len(said) // 2 + 1))


def wants_fallback(decoded: Decoded, text: str, options: Options) -> bool:
    """Whether decoding once more at a higher temperature may help: the reference's rule."""
    improbable = options.log_prob_threshold
    return repeats_itself(text, options) or (improbable is not None and decoded.avg_logprob < improbable)


def repeats_itself(text: str, options: Options) -> bool:
    """Whether a text compresses better than the client lets it."""
    threshold = options.compression_ratio_threshold
    return threshold is not None and compression_ratio(text) > threshold


def reference_verdict(decoded: Decoded, text: str, options: Options) -> str | None:
    """Why a text was not said, by the reference's rule with a client's thresholds, or None for one to deliver."""
    silence, improbable = options.no_speech_threshold, options.log_prob_threshold
    unsure = improbable is None or decoded.avg_logprob <= improbable
    if silence is not None and decoded.no_speech_prob > silence and unsure:
        return SILENCE
    return None if text.strip() else SILENCE


def verdict(decoded: Decoded, text: str, audio_s: float, voiced_s: float | None) -> str | None:
    """Why a text was not said, or None for one to deliver.

    Args:
        decoded: the last decoding of the window, with all its tokens.
        text: what is to be delivered, after `without_repeats` where that was called for.
        audio_s: seconds of the window; no more voice than that counts.
        voiced_s: seconds of voice in it (`VoiceDetector.voiced`, or `Ended.voiced`); None where nobody asked.

    Returns:
        NO_VOICE: hardly a frame with a voice in it. SILENCE: the decoder says that nobody spoke, or found
        nothing but remarks. DOUBTFUL: it went round in circles, or guessed.
    """
    if voiced_s is not None and voiced_s <= 0:
        return NO_VOICE
    voiced = None if voiced_s is None else min(voiced_s, audio_s)
    if (
        not any(char.isalnum() for char in text)
        or _REMARK.fullmatch(text)
        or _silent(decoded, text, audio_s, voiced)
    ):
        return SILENCE
    if _goes_round(decoded, text) or _guessed(decoded, text, voiced):
        return DOUBTFUL
    return None


def _goes_round(decoded: Decoded, text: str) -> bool:
    """Whether a text repeats itself because the decoder does. Who says a thing ten times is understood well."""
    lost = decoded.avg_logprob < FALLBACK_LOGPROB or decoded.no_speech_prob > NO_SPEECH_PROB or not decoded.ended
    return lost and compression_ratio(text) > MAX_COMPRESSION_RATIO


def _silent(decoded: Decoded, text: str, audio_s: float, voiced: float | None) -> bool:
    """Whether the decoder says that nobody spoke."""
    silence, confidence = decoded.no_speech_prob, decoded.avg_logprob
    if silence > (NO_SPEECH_PROB if voiced is None else HEARD_NO_SPEECH_PROB) and confidence < NO_SPEECH_LOGPROB:
        return True
    little = voiced is not None and voiced < min(LITTLE_VOICE_S, LITTLE_VOICE_SHARE * audio_s)
    if little and silence > LITTLE_NO_SPEECH_PROB and confidence < LITTLE_LOGPROB:
        return True
    if voiced is not None and voiced >= CERTAIN_VOICE_S:
        return False
    phantom = voiced is not None and _plain(text) in _PHANTOMS and silence > _PHANTOM_NO_SPEECH_PROB
    return phantom or (silence > SURE_NO_SPEECH_PROB and confidence < SURE_NO_SPEECH_LOGPROB)


def _guessed(decoded: Decoded, text: str, voiced: float | None) -> bool:
    """Whether the decoder made something up, by its confidence or by how much it found."""
    silence, confidence = decoded.no_speech_prob, decoded.avg_logprob
    if voiced is not None and len(text.split()) > _WORDS + _WORDS_PER_S * voiced:
        return True
    certain = voiced is not None and voiced >= CERTAIN_VOICE_S
    left = without_repeats(decoded.tokens)
    if len(left) < len(decoded.tokens) and (not certain or len(left) <= _ONLY_LOOP):
        return True
    most, least = CERTAIN_GUESS if certain else GUESS
    return (confidence < most and silence > least) or (not certain and confidence < HOPELESS_LOGPROB)


def _loop_at(tokens: Sequence[int], start: int) -> tuple[int, int]:
    """Period and length of the loop that begins at `start`, the shortest period first; (0, 0) for none."""
    for period in range(1, LOOP_MAX_PERIOD + 1):
        end = start + period
        while end < len(tokens) and tokens[end] == tokens[end - period]:
            end += 1
        if end - start >= period * max(LOOP_REPEATS, -(-LOOP_MIN_TOKENS // period)):
            return period, end - start
    return 0, 0


def _plain(text: str) -> str:
    """Lower case, single spaces, without punctuation."""
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split())
