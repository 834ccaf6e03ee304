"""A clip through its windows: what is kept of them and told to the next, and the memory that it takes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from longform_talk import (
    MOST_WORDS,
    Answer,
    Letters,
    Scripted,
    Talk,
    at,
    broken,
    regular,
    tokens,
)
from whisperd.errors import Cancelled
from whisperd.speech import confidence, guards
from whisperd.speech.attempts import Ask, Found, Stopwatch
from whisperd.speech.features import SAMPLE_RATE, LogMel
from whisperd.speech.longform import Clip, LongForm
from whisperd.speech.options import Options
from whisperd.speech.prompting import Prompts
from whisperd.speech.types import Unattended

# --- what is kept and what is told --------------------------------------------------------------------------


def test_text_so_far_is_told_if_it_is_wished_for() -> None:
    talk = regular(40)
    _, plain = talk.decode(talk.heard_right)
    assert all(ask.previous == () for _, _, ask in plain.asked)
    _, conditioned = talk.decode(talk.heard_right, Options(condition_on_previous_text=True))
    said = 0
    for start, end, ask in conditioned.asked:
        assert ask.previous == tuple(talk.words)[max(0, said - 223) : said]
        said += sum(map(len, talk.audible(start, end).values()))
    assert said == len(talk.words)


def test_text_that_needed_a_high_temperature_is_forgotten_and_what_stood_before_too() -> None:
    talk = regular(40)
    scripted = Scripted(talk.heard_right)

    def hot(start: float, end: float, ask: Ask) -> Found:
        temperature = 0.6 if 20 < start < 40 else 0.4
        return scripted.found(talk.heard_right(start, end, ask), ask, temperature=temperature)

    for reset, forgotten in ((0.5, True), (0.7, False)):
        told = Options(condition_on_previous_text=True, prompt_reset_on_temperature=reset)
        _, asked = talk.decode(hot, told)
        after = next(ask for start, _, ask in asked.asked if start >= 40)
        assert (after.previous == ()) == forgotten


def test_the_initial_prompt_and_hot_words_are_told_to_every_window_and_the_prefix_to_the_first() -> None:
    talk = regular(40)
    options = Options(initial_prompt="ab", hotwords=("c",), prefix="d")
    clip, scripted = talk.decode(talk.heard_right, options)
    letters = Letters().encode
    asks = [ask for _, _, ask in scripted.asked]
    assert all(ask.previous == tuple(letters(" c ab")) for ask in asks)
    assert asks[0].prefix == tuple(letters(" d"))
    assert all(ask.prefix == () for ask in asks[1:])


def test_a_prompt_does_not_grow_with_the_clip() -> None:
    talk = regular(100)
    _, scripted = talk.decode(talk.heard_right, Options(condition_on_previous_text=True, initial_prompt="x"))
    assert max(len(ask.previous) for _, _, ask in scripted.asked) == 223


def detects(talk: Talk, languages: dict[float, str], refused: set[float] = frozenset()) -> Answer:  # type: ignore[assignment]
    scripted = Scripted(talk.heard_right)

    def answer(start: float, end: float, ask: Ask) -> Found:
        if ask.language != "auto":
            return scripted.found(talk.heard_right(start, end, ask), ask)
        code = next(code for until, code in languages.items() if start < until)
        found = scripted.found(
            talk.heard_right(start, end, ask), ask, language=code, languages=((code, 0.8), ("fr", 0.2))
        )
        return Found(found.decoded, (), "", 0, code, found.languages) if start in refused else found

    return answer


def test_a_language_is_detected_once() -> None:
    talk = regular(40)
    clip, scripted = talk.decode(detects(talk, {1: "de", 999: "en"}), language="auto")
    assert [ask.language for _, _, ask in scripted.asked] == ["auto"] + ["de"] * (len(scripted.asked) - 1)
    assert (clip.language, clip.languages) == ("de", (("de", 0.8), ("fr", 0.2)))
    assert {ask.allowed for _, _, ask in scripted.asked} == {("en", "de")}


def test_or_anew_in_each_window() -> None:
    talk = regular(40)
    clip, scripted = talk.decode(detects(talk, {1: "de", 999: "en"}), Options(multilingual=True), language="auto")
    assert {ask.language for _, _, ask in scripted.asked} == {"auto"}
    assert clip.languages[0][0] == "de"  # of the first


def test_a_language_that_noise_was_taken_for_does_not_count() -> None:
    talk = regular(40)
    clip, scripted = talk.decode(detects(talk, {1: "de", 999: "en"}, {0.0}), language="auto")
    assert [ask.language for _, _, ask in scripted.asked[:3]] == ["auto", "auto", "en"]
    assert (clip.language, clip.languages[0][0]) == ("en", "en")
    assert tokens(clip)[-1] == list(talk.words)[-1]


def test_a_given_language_is_not_detected() -> None:
    talk = regular(20)
    clip, scripted = talk.decode(detects(talk, {999: "de"}), language="en")
    assert {ask.language for _, _, ask in scripted.asked} == {"en"}
    assert clip.languages == ()


def test_refused_windows_have_no_text_and_the_rest_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = regular(20)
    monkeypatch.setattr(guards, "verdict", lambda decoded, text, *_: "doubtful" if text.startswith(" 0") else None)
    clip, scripted = talk.decode(talk.heard_right, Options(condition_on_previous_text=True))
    first = len(talk.audible(*scripted.asked[0][:2]))
    assert tokens(clip) == [token for token in talk.words if token >= MOST_WORDS * first]
    assert scripted.asked[1][2].previous == ()
    assert clip.segments[0].start_s == pytest.approx(talk.sentences[first][0], abs=0.011)


def test_the_confidence_is_that_of_the_text_that_is_kept() -> None:
    talk = regular(20)
    clip, _ = talk.decode(broken(talk, lambda found: found[:2]))
    assert clip.tokens == len(tokens(clip))
    assert clip.confidence == pytest.approx(confidence.of_text(-0.2))
    assert Clip("en").confidence == 0.0


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_cancel_is_seen_before_each_window(steps: int) -> None:
    class Impatient(Unattended):
        left = steps

        def step(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Cancelled("enough")

    talk = regular(40)
    scripted: list[float] = []

    def answer(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        scripted.append(start)
        return talk.heard_right(start, end, ask)

    with pytest.raises(Cancelled):
        talk.decode(answer, control=Impatient())
    assert len(scripted) == steps


# --- memory -------------------------------------------------------------------------------------------------


def peak(minutes: int) -> float:
    """MB above the clip itself that a clip of a noise takes, with real features."""
    second = np.random.default_rng(1).normal(0, 3000, SAMPLE_RATE).astype(np.int16)
    second[: SAMPLE_RATE // 3] = 0
    pcm = np.tile(second, 60 * minutes)

    def answer(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        scripted.asked.clear()  # what the test remembers is not to be measured
        return (at(0), *range(1, 80), at(20))

    scripted = Scripted(answer)
    options = Options(condition_on_previous_text=True)
    long_form = LongForm(scripted, LogMel(80), None, ("en",))  # type: ignore[arg-type]
    prompts = Prompts(Letters(), options, 448)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        clip = long_form.decode(pcm, options, "en", prompts, Unattended(), Stopwatch(), full=False)
        assert clip.segments[-1].end_s > 60 * minutes - 30
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_clip() -> None:
    short, hour = peak(2), peak(60)
    assert short < 30
    # An hour of text is some 12000 tokens in objects of Python; its features alone would be 115 MB.
    assert hour < short + 5
