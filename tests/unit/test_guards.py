"""Words that nobody said are taken away, and no others: the rules by recorded figures, and with a real model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from more_noises import EVERY_NOISE, any_noise
from noises import RATE
from speech import COMMITTED, Clip, pocketsphinx, shared
from whisperd.audio.files import read_audio
from whisperd.speech.decoding import Decoded, without_loop
from whisperd.speech.guards import (
    MAX_COMPRESSION_RATIO,
    compression_ratio,
    reference_verdict,
    said_twice,
    verdict,
    wants_fallback,
    without_repeats,
)
from whisperd.speech.options import Options
from whisperd.speech.transcribe import Transcriber, load
from whisperd.speech.types import SILENCE, Int16Samples, Unattended
from whisperd.speech.vad import VoiceDetector

CLIPS = [*COMMITTED, *shared(), *pocketsphinx()]
ATTENDED = Unattended()


def decoded(avg_logprob: float, no_speech_prob: float) -> Decoded:
    return Decoded((1,), avg_logprob, no_speech_prob, True)


# --- repeats ----------------------------------------------------------------------------------------------


def test_how_well_a_text_compresses() -> None:
    said = "How long will it take to drive to the airport in this traffic?"
    assert 0.8 < compression_ratio(said) < 1.2
    assert compression_ratio("Thank you. " * 20) > MAX_COMPRESSION_RATIO
    assert compression_ratio("A" + "h" * 60) > MAX_COMPRESSION_RATIO
    assert compression_ratio("") == 0.0


@pytest.mark.parametrize(
    "said", ["No, no, no, no.", "five five five", "Row, row, row your boat.", "Bye bye bye bye"]
)
def test_what_people_repeat_does_not_count(said: str) -> None:
    assert compression_ratio(said) < MAX_COMPRESSION_RATIO
    assert verdict(decoded(-0.4, 0.3), said, 3.0, 1.0) is None


@pytest.mark.parametrize(
    ("tokens", "left"),
    [
        ([], []),
        ([1, 2, 3], [1, 2, 3]),
        ([7] * 14, [7] * 14),  # somebody may say that
        ([7] * 15, [7]),
        ([9, *[1, 2, 3, 4, 5] * 2], [9, *[1, 2, 3, 4, 5] * 2]),
        ([9, *[1, 2, 3, 4, 5] * 3], [9, 1, 2, 3, 4, 5]),
        ([9, *[1, 2, 3, 4, 5] * 4, 1, 2, 3], [9, 1, 2, 3, 4, 5]),
        ([9, *[1, 2] * 10, 8, 7], [9, 1, 2, 8, 7]),
        ([*[1, 2] * 10, 5, *[3] * 20], [1, 2, 5, 3]),
    ],
)
def test_repeats_are_cut(tokens: list[int], left: list[int]) -> None:
    assert without_repeats(tokens) == tuple(left)


@given(st.lists(st.integers(0, 3), max_size=60))
def test_cutting_leaves_no_loop_of_less_than_the_decoder_s(tokens: list[int]) -> None:
    left = without_repeats(tokens)
    assert len(left) <= len(without_loop(tokens))
    assert set(left) == set(tokens) and left[:1] == tuple(tokens[:1])


@given(
    st.lists(st.integers(0, 9), max_size=10), st.lists(st.integers(10, 99), min_size=1, max_size=20, unique=True)
)
def test_any_loop_comes_down_to_one_round(before: list[int], phrase: list[int]) -> None:
    assert without_repeats([*before, *phrase * 15]) == (*before, *phrase)


# --- verdicts ---------------------------------------------------------------------------------------------


# What base and tiny.en made of noise and of voices: text, mean log-probability, no-speech probability, seconds,
# and seconds of voice that were heard in it.
NOT_SAID = [
    (" you", -0.78, 0.98, 1.0, None, "silence"),  # hum
    (" you", -0.98, 0.96, 1.0, None, "silence"),  # road
    (" Thank you.", -0.76, 0.825, 10.0, None, "silence"),  # music, 40 dB down
    (" Thank you.", -0.76, 0.825, 10.0, 0.13, "silence"),
    (" you", -1.31, 0.64, 1.0, None, "silence"),  # a high tone
    (" I'm going to go to the next station.", -1.79, 0.48, 10.0, None, "doubtful"),  # engine
    (" The", -3.54, 0.39, 10.0, None, "doubtful"),
    (" It's a big deal.", -1.92, 0.41, 10.0, None, "doubtful"),  # a tone
    (" Oh", -2.37, 0.60, 3.0, 0.61, "doubtful"),  # held vowels
    (" " + "A" + "h" * 200, -0.23, 0.73, 3.0, 0.61, "doubtful"),
    (" you", -1.76, 0.82, 3.0, 0.61, "silence"),  # a wiper
    (" You", -1.73, 0.75, 3.0, 0.32, "silence"),
    (" I'm going to get you.", -1.80, 0.65, 1.0, 0.22, "doubtful"),
    (" I'm going to get you out of here.", -0.5, 0.1, 1.0, 0.1, "doubtful"),  # eight words in a tenth of a second
    (" Thank you.", -0.5, 0.55, 3.0, 0.13, "silence"),
    (" you", -0.2, 0.1, 3.0, 0.0, "no-voice"),
    ("", -0.2, 0.1, 3.0, 1.0, "silence"),
    (" ...", -0.2, 0.1, 3.0, 1.0, "silence"),
    (" [Music]", -0.2, 0.1, 3.0, 1.0, "silence"),
    (" (engine revving) ♪ la la ♪", -0.2, 0.1, 3.0, None, "silence"),
]
SAID = [
    (" front left", -1.73, 0.63, 1.4, 0.77),  # white noise 10 dB under the voice
    (" you", -1.04, 0.66, 0.8, 0.32),  # 5 dB
    (" Fun Center", -1.18, 0.59, 1.4, 0.99),
    (" fun, laugh.", -0.66, 0.73, 1.5, 0.42),
    (" fun, laugh.", -0.66, 0.73, 1.5, None),
    (" huh", -1.55, 0.727, 0.5, 0.3),  # "up", and a wiper in the rain
    (" Yep.", -0.80, 0.807, 0.5, 0.19),  # "up", 30 dB down
    (" Looking", -2.05, 0.41, 0.9, 0.58),
    (" Do", -1.87, 0.46, 0.6, 0.35),
    (" you", -0.57, 0.29, 0.6, 0.26),
    (" you", -0.57, 0.29, 0.6, None),
    (" Thank you very much.", -0.2, 0.1, 1.5, 0.8),
    (" No, no, no, no.", -0.39, 0.64, 1.2, 0.51),
    (" Bye.", -0.4, 0.3, 0.5, 0.32),
    (" Stop (now).", -0.4, 0.3, 1.0, 0.5),
    (" 你好", -0.4, 0.3, 1.0, 0.5),
    (" 5 5", -0.62, 0.42, 1.5, 0.83),
]


@pytest.mark.parametrize(("text", "logprob", "silence", "audio_s", "voiced_s", "reason"), NOT_SAID)
def test_what_was_not_said(
    text: str, logprob: float, silence: float, audio_s: float, voiced_s: float | None, reason: str
) -> None:
    assert verdict(decoded(logprob, silence), text, audio_s, voiced_s) == reason


@pytest.mark.parametrize(("text", "logprob", "silence", "audio_s", "voiced_s"), SAID)
def test_what_was_said(text: str, logprob: float, silence: float, audio_s: float, voiced_s: float | None) -> None:
    assert verdict(decoded(logprob, silence), text, audio_s, voiced_s) is None


@pytest.mark.parametrize(
    ("tokens", "voiced_s", "reason"),
    [
        ((7, *[8] * 60), 0.1, "doubtful"),  # held vowels in tiny.en: "Ah", of which "Ahhhhh..." is cut
        ((7, *[8] * 60), 0.61, "doubtful"),
        ((7, *[8] * 60), None, "doubtful"),
        ((1, 2, 3, 4, 5, 6, *[8] * 60), 0.1, "doubtful"),
        ((1, 2, 3, 4, 5, 6, *[8] * 60), 2.0, None),  # words, and then the decoder lost its way
        ((1, 2, *[8] * 5), 0.61, None),
    ],
)
def test_a_loop_without_other_words_or_a_voice(
    tokens: tuple[int, ...], voiced_s: float | None, reason: str | None
) -> None:
    assert verdict(Decoded(tokens, -0.23, 0.5, False), " Ah", 3.0, voiced_s) == reason


@given(st.floats(-1.0, 0.0), st.floats(0.0, 0.8), st.floats(0.25, 30.0))
def test_a_confident_decoding_of_a_voice_is_never_lost(logprob: float, silence: float, voiced_s: float) -> None:
    assert verdict(decoded(logprob, silence), " Turn it off.", 30.0, voiced_s) is None


def test_more_voice_than_audio_does_not_count() -> None:
    assert verdict(decoded(-0.9, 0.83), " you", 0.1, 5.0) == "silence"


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        ("", False),
        (" Turn it off.", False),
        (" how long will it take how long will it take", True),
        (" How long will it take? How long will it take", True),
        (" Well, how long will it take? How long will it take?", True),
        (" How long will it take? How long will it take? An hour.", False),
        (" Turn it off. Turn it off.", False),  # people do
        (" No, no, no, no, no, no.", False),
        (" No, no, no, no, no, no, no, no.", True),  # it is worth the look
        (" 你好你好你好你好", False),
    ],
)
def test_what_comes_twice_in_a_row(text: str, twice: bool) -> None:
    assert said_twice(text) is twice


def test_when_another_try_may_help() -> None:
    default = Options()
    assert not wants_fallback(decoded(-0.9, 0.9), " Turn left.", default)
    assert wants_fallback(decoded(-1.1, 0.1), " Turn left.", default)
    assert wants_fallback(decoded(-0.1, 0.1), " Turn left." * 30, default)
    strict = Options(log_prob_threshold=-0.5, compression_ratio_threshold=None)
    assert wants_fallback(decoded(-0.9, 0.9), " Turn left.", strict)
    assert not wants_fallback(decoded(-0.1, 0.1), " Turn left." * 30, strict)
    assert not wants_fallback(decoded(-9, 0.1), " Turn left.", Options(log_prob_threshold=None))


def test_the_reference_s_rule_with_a_client_s_thresholds() -> None:
    strict = Options(no_speech_threshold=0.5, log_prob_threshold=-0.8)
    assert reference_verdict(decoded(-0.9, 0.6), " you", strict) == SILENCE
    assert reference_verdict(decoded(-0.9, 0.5), " you", strict) is None
    assert reference_verdict(decoded(-0.7, 0.6), " you", strict) is None
    assert reference_verdict(decoded(-0.1, 0.6), " you", replace(strict, log_prob_threshold=None)) == SILENCE
    assert reference_verdict(decoded(-0.1, 0.0), " ", strict) == SILENCE


# --- a real model over noise and voices -------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(tiny_en: Path) -> Transcriber:
    """Without the detector: what it would find is decoded all the same."""
    return load(tiny_en, threads=2, language="en")


@pytest.fixture(scope="module")
def judge(engine: Transcriber, vad: Path) -> Callable[[Int16Samples, bool], list[str | None]]:
    detector = VoiceDetector(vad)

    def judged(pcm: Int16Samples, with_network: bool) -> list[str | None]:
        voiced = detector.voiced(pcm, ATTENDED) if with_network else None
        audio_s = len(pcm) / RATE
        return [
            verdict(
                Decoded(segment.tokens, segment.avg_logprob, segment.no_speech_prob, True),
                segment.text,
                audio_s,
                voiced,
            )
            for segment in engine.transcribe(pcm, Options(), ATTENDED).segments
        ]

    return judged


@pytest.mark.parametrize("decibel", [0, -40])
# Of the vowels comes a loop, which is cut before it can be seen here: see `test_a_loop_...`.
@pytest.mark.parametrize("name", sorted(set(EVERY_NOISE) - {"vowels"}))
def test_noise_has_no_words(
    judge: Callable[[Int16Samples, bool], list[str | None]], name: str, decibel: int
) -> None:
    pcm = any_noise(name, 3.0, decibel)
    assert None not in judge(pcm, True)
    assert None not in judge(pcm, False)


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_voices_keep_theirs(judge: Callable[[Int16Samples, bool], list[str | None]], clip: Clip) -> None:
    pcm = read_audio(clip.path, 60.0)
    for version in (
        pcm,
        (pcm * 0.1).astype(np.int16),
        (pcm * 0.01).astype(np.int16),
        in_noise(pcm, "engine", 10.0),
        in_noise(pcm, "white", 5.0),
    ):
        assert judge(version, True) == judge(version, False) == [None]


def in_noise(pcm: Int16Samples, name: str, snr_db: float) -> Int16Samples:
    unwanted = np.resize(any_noise(name, 10.0).astype(np.float64), len(pcm))
    mixed = pcm + unwanted * (pcm.std() / unwanted.std() * 10 ** (-snr_db / 20))
    return np.asarray(mixed * min(1.0, 30000 / np.abs(mixed).max())).astype(np.int16)


def test_a_decoding_is_judged_by_its_own_figures() -> None:
    sure = decoded(-0.4, 0.3)
    assert verdict(sure, " Go home.", 1.0, 0.6) is None
    assert verdict(replace(sure, no_speech_prob=0.9, avg_logprob=-1.2), " Go home.", 1.0, 0.6) == "silence"
