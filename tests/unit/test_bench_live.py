"""The figures of scripts/bench/live, from takes whose figures are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.live_figures import FRAME, Figures, Take, figures, median, speech_frames, unmet
from bench.livewire import Came
from speech import Clip
from whisperd.audio.pcm import SAMPLE_RATE, Int16Samples

#: Monotonic seconds: the stream begins, and the clip in it. Its speech is from 0.5 to 2.5 s.
ORIGIN, AT = 100.0, 101.0
ONSET, END = AT + 0.5, AT + 2.5


def tone(*spans: tuple[float, float], seconds: float = 3.0) -> Int16Samples:
    """Loud within the spans, 60 dB quieter elsewhere."""
    pcm = np.sin(2 * np.pi * 440 * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)
    loud = np.full(len(pcm), 0.001)
    for begin, end in spans:
        loud[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 1.0
    return (20000 * pcm * loud).astype(np.int16)


def partial(at: float, stable: str, unstable: str, revision: int) -> Came:
    return Came(at, "partial", {"utterance": 0, "revision": revision, "stable": stable, "unstable": unstable})


def take(*events: Came, text: str = "go home now", one_shot: str = "go home now") -> Take:
    """A take with these texts, and a final text 0.1 s after its endpoint, which is 0.7 s after the speech."""
    frame = [Came(ONSET + 0.1, "voice-started", {"timestamp": 1200})]
    stop = [Came(END + 0.7, "voice-stopped", {"timestamp": 3500})]
    where: dict[str, Any] = {"utterance": 0, "start": 1.2, "end": 3.7}
    final = [Came(END + 0.8, "transcript", {"text": text, **where})]
    clip = Clip(Path("clip.wav"), "go home now")
    return Take(clip, "alignatt", tone((0.5, 2.5)), ORIGIN, AT, [*frame, *events, *stop, *final], one_shot, 0.5)


GOOD = (
    partial(ONSET + 0.3, "", "No.", 0),
    partial(ONSET + 0.8, "", "go home", 1),
    partial(ONSET + 1.4, "go home", " know", 2),
)


def test_speech_is_what_is_loud_with_its_short_gaps() -> None:
    speaking = speech_frames(tone((0.5, 1.0), (1.1, 1.5), (2.0, 2.5), (2.8, 2.84)))
    edges = np.flatnonzero(np.diff(speaking.astype(np.int8))) + 1
    assert edges.tolist() == [50, 150, 200, 250]  # the gap of 0.1 s is speech, and the click at 2.8 s is none
    assert len(speaking) == 3 * SAMPLE_RATE // FRAME


def test_times_are_those_of_the_events() -> None:
    found = figures(take(*GOOD))
    assert found.speech_s == pytest.approx(2.0)
    assert found.onset_found_s == pytest.approx(-0.3)
    assert found.first_partial_s == pytest.approx(0.3)
    assert found.first_right_s == pytest.approx(0.8)
    assert found.partial_gap_s == pytest.approx(0.6)
    assert found.final_after_endpoint_s == pytest.approx(0.1)
    assert found.final_after_speech_s == pytest.approx(0.8)
    assert found.changes_per_s == pytest.approx(0.5)
    assert (found.errors, found.one_shot_errors, found.utterances, found.partials) == (0, 0, 1, 3)
    assert not unmet(found)
    assert not found.broken


def test_words_stand_and_are_shown_when_they_are_told() -> None:
    # Ends of the three words by their letters, of 3, 5 and 4 with a space each: 0.5, 1.33 and 2 s after the onset.
    found = figures(take(*GOOD))
    assert found.stands_after_s == pytest.approx(((1.4 - 0.5) + (1.4 - 1.33) + (2.8 - 2.0)) / 3, abs=0.01)
    assert found.shown_after_s == pytest.approx(((0.8 - 0.5) + (0.8 - 1.33) + (2.8 - 2.0)) / 3, abs=0.01)


def test_speech_without_a_text_is_a_gap_and_misses_the_target() -> None:
    found = figures(take(partial(ONSET + 0.4, "", "go", 0)))
    assert found.partial_gap_s == pytest.approx(1.6)
    assert unmet(found) == ["partial_gap_s"]


def test_no_text_at_all_misses_every_target_of_time() -> None:
    silent = Take(Clip(Path("a.wav"), "go home now"), "alignatt", tone((0.5, 2.5)), ORIGIN, AT, [], "", 0.5)
    found = figures(silent)
    times = ["first_partial_s", "partial_gap_s", "final_after_endpoint_s", "final_after_speech_s"]
    assert unmet(found) == times
    assert found.errors == 3


def test_words_that_are_only_wrong_live_are_counted() -> None:
    found = figures(take(*GOOD[:2], partial(ONSET + 1.5, "", "go ham", 2), text="go ham no"))
    assert (found.errors, found.words_worse) == (2, 2.0)
    assert unmet(found) == ["words_worse"]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ((partial(ONSET, "go", "", 0), partial(ONSET + 1, "so", "", 1)), "stable text changed"),
        ((partial(ONSET, "", "go", 1), partial(ONSET + 1, "", "go", 1)), "revision 1 after 1"),
        ((partial(ONSET, "to", "", 0),), "does not begin with what stood"),
        ((Came(ONSET, "overrun", {"samples": 5}),), "overrun"),
    ],
)
def test_what_must_never_be_is_told(events: tuple[Came, ...], told: str) -> None:
    assert any(told in text for text in figures(take(*events)).broken)


def test_an_utterance_without_an_answer_is_told() -> None:
    whole = take(*GOOD)
    cut = Take(whole.clip, "", whole.pcm, ORIGIN, AT, whole.events[:-1], "", 0.5)
    assert "utterance 0 has no answer" in figures(cut).broken


def test_the_median_is_of_each_figure() -> None:
    rounds = [figures(take(*GOOD[:n])) for n in (1, 2, 3)]
    middle: Figures = median(rounds)
    assert middle.partials == 2
    assert middle.partial_gap_s == sorted(one.partial_gap_s for one in rounds)[1]
