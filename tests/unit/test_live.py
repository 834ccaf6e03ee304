"""A live stream: what is asked of the worker and when, what is told, and what never happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.errors import Cancelled, InternalError, QueueFull, ShuttingDown, WhisperdError
from whisperd.live import FULL_S, LiveStream, Mode
from whisperd.protocol import Outcome
from whisperd.speech.endpoint import Change, Dropped, Ended, Paused, Resumed, Started
from whisperd.speech.types import Known, Partial, Segment, Timings, Transcription
from whisperd.utterance import (
    Decode,
    Done,
    Drop,
    Finished,
    Level,
    Output,
    Overrun,
    Shown,
    VoiceStarted,
    VoiceStopped,
)

RATE = 16_000
Cue = tuple[float, Callable[[int], Change]]


def started(at: float) -> Cue:
    return at, lambda n: Started(round(at * RATE))


def paused(heard: float, voice_end: float | None = None) -> Cue:
    end = heard - 0.2 if voice_end is None else voice_end
    return heard, lambda n: Paused(round(end * RATE), n, round(end * RATE))


def resumed(at: float) -> Cue:
    return at, Resumed


def ended(heard: float, until: float, *, cut: bool = False) -> Cue:
    return heard, lambda n: Ended(round((until - 0.2) * RATE), n, round(until * RATE), round(until * RATE), cut)


def dropped(heard: float) -> Cue:
    return heard, lambda n: Dropped(n, n)


class Cues:
    """Endpoints that change when they are told to: (seconds of the stream, change)."""

    def __init__(self, cues: Sequence[Cue], at_the_end: Sequence[Change] = ()) -> None:
        self.cues = list(cues)
        self.at_the_end = list(at_the_end)
        self.position = 0

    def push(self, pcm: np.ndarray) -> list[Change]:
        self.position += len(pcm)
        due = []
        while self.cues and self.cues[0][0] * RATE <= self.position:
            due.append(self.cues.pop(0)[1](self.position))
        return due

    def finish(self) -> list[Change]:
        return self.at_the_end


def counting(length: int) -> np.ndarray:
    """A second of 1, a second of 2 …: so that what is decoded tells what was heard."""
    return (np.arange(length) // RATE + 1).astype(np.int16)


def spoken(pcm: np.ndarray, known: Known) -> Transcription:
    """A model that hears each second as a word; all but the last word stand."""
    heard = sorted({int(s) for s in pcm})
    text = " ".join(f"w{s}" for s in heard)
    stable = tuple(dict.fromkeys((*known.stable, *heard[:-1])))
    draft = tuple(s for s in heard if s not in stable)
    partial = Partial(
        " ".join(f"w{s}" for s in stable),
        "".join(f" w{s}" for s in draft),
        Known(stable, (0.0,) * len(stable), draft),
    )
    segment = Segment(0.0, len(pcm) / RATE, text, (), -0.1, 0.0)
    return Transcription(text, "en", len(pcm) / RATE, (segment,), Timings(1, 2, 3), 0, partial)


class Stage:
    """A stream and the worker behind it, which answers when it is told to."""

    def __init__(
        self, cues: Sequence[Cue], mode: Mode = Mode.HANDS_FREE, end: Sequence[Change] = (), **options: Any
    ) -> None:
        keys = iter(range(10_000))
        self.endpoints = Cues(cues, end)
        self.stream = LiveStream(self.endpoints, mode, lambda: next(keys), levels=False, **options)
        self.told: list[Output] = []
        self.running: Decode | None = None
        self.asked: list[Decode] = []
        self.dropped: set[int] = set()
        self.at = 0

    def _note(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            if isinstance(output, Decode):
                assert self.running is None or self.running.key in self.dropped, "one pass at a time"
                self.running = output
                self.asked.append(output)
            elif isinstance(output, Drop):
                assert self.running is not None and self.running.key == output.key
                self.dropped.add(output.key)
            self.told.append(output)

    def play(self, seconds: float, *, work: bool = True, step: float = 0.1) -> Stage:
        for _ in range(round(seconds / step)):
            length = round(step * RATE)
            self._note(self.stream.push(counting(self.at + length)[self.at :]))
            self.at += length
            if work:
                self.work()
        return self

    def work(self, result: Transcription | WhisperdError | None = None, run_s: float = 0.05) -> Stage:
        while self.running is not None:
            job, self.running = self.running, None
            outcome = Outcome(result or spoken(job.pcm, job.live.known), 0.0, run_s)
            self._note(self.stream.job_done(job.key, outcome))
        return self

    def stop(self, *, work: bool = True) -> Stage:
        self._note(self.stream.stop())
        if work:
            self.work()
        return self

    def of(self, kind: type[Any]) -> list[Any]:
        return [output for output in self.told if isinstance(output, kind)]

    def texts(self) -> list[str]:
        return [f.outcome.result.text for f in self.of(Finished)]


UTTERANCE = (started(1.0), paused(4.2), ended(4.6, 4.2))


def test_an_utterance_is_shown_while_it_lasts_and_final_when_it_ends() -> None:
    stage = Stage(UTTERANCE).play(4.7).stop()
    shown = stage.of(Shown)
    assert [s.revision for s in shown] == list(range(len(shown)))
    assert shown[0].stable + shown[0].unstable in ("w2", " w2")
    assert shown[-1].stable + shown[-1].unstable == "w2 w3 w4 w5"
    (final,) = stage.of(Finished)
    assert (final.start, final.end, final.outcome.result.text) == (RATE, round(4.2 * RATE), "w2 w3 w4 w5")
    kinds = [type(output) for output in stage.told if not isinstance(output, (Decode, Shown))]
    assert kinds == [VoiceStarted, VoiceStopped, Finished, Done]


def test_the_final_text_is_made_in_the_pause_and_given_without_another_pass() -> None:
    stage = Stage(UTTERANCE).play(4.5)
    assert stage.asked[-1].live.final
    assert stage.asked[-1].live.voiced_s == pytest.approx(4.0)
    before = len(stage.asked)
    stage.play(0.2)
    assert stage.texts() == ["w2 w3 w4 w5"]
    assert len(stage.asked) == before


def test_a_final_pass_that_is_still_running_at_the_end_is_waited_for() -> None:
    stage = Stage(UTTERANCE).play(4.1).play(0.6, work=False)
    assert stage.of(VoiceStopped)
    assert not stage.of(Finished)
    asked = len(stage.asked)
    stage.work()
    assert stage.texts() == ["w2 w3 w4 w5"]
    assert len(stage.asked) == asked


def test_a_pause_that_ends_drops_the_final_pass() -> None:
    stage = Stage((started(1.0), paused(3.0), resumed(3.3), paused(5.0), ended(5.4, 5.0))).play(2.9)
    stage.play(0.5, work=False)
    (final,) = (decode for decode in stage.asked if decode.live.final)
    assert final.key in stage.dropped
    stage.work()  # its result is ignored
    stage.play(2.2)
    assert stage.texts() == ["w2 w3 w4 w5"]


def test_a_partial_pass_makes_way_for_a_final_one() -> None:
    stage = Stage(UTTERANCE).play(3.0).play(1.2, work=False)
    partial, final = stage.asked[-2:]
    assert (partial.live.final, final.live.final) == (False, True)
    assert partial.key in stage.dropped


def test_passes_follow_the_pace_of_the_worker() -> None:
    quick, slow = Stage((started(0.0),)), Stage((started(0.0),))
    for _ in range(100):
        quick.play(0.1, work=False).work(run_s=0.01)
        slow.play(0.1, work=False).work(run_s=1.5)
    assert 28 <= len(quick.asked) <= 34  # every 0.3 s
    assert 6 <= len(slow.asked) <= 8  # as long as it takes
    assert quick.asked[0].pcm.size == round(1.0 * RATE)


def test_two_utterances_in_one_stream() -> None:
    stage = Stage((*UTTERANCE, started(6.0), paused(8.2), ended(8.6, 8.2))).play(9).stop()
    assert [(f.utterance, f.outcome.result.text) for f in stage.of(Finished)] == [
        (0, "w2 w3 w4 w5"),
        (1, "w7 w8 w9"),
    ]
    assert stage.of(Done) == [Done(2)]


def test_nothing_is_lost_while_the_worker_is_busy() -> None:
    stage = Stage((*UTTERANCE, started(6.0), paused(8.2), ended(8.6, 8.2))).play(30, work=False)
    assert not stage.of(Overrun)
    stage.work()
    assert stage.texts() == ["w2 w3 w4 w5", "w7 w8 w9"]


def test_what_is_overwritten_is_told() -> None:
    stage = Stage(UTTERANCE).play(62.0, work=False)
    # The pass that was asked for has its samples; of those that are asked for now, a second is gone.
    lost = sum(o.samples for o in stage.of(Overrun))
    assert lost == RATE
    stage.work()
    assert stage.texts() == ["w2 w3 w4 w5"]
    late = Stage((started(1.0), ended(4.6, 4.2), started(5.0), paused(7.2), ended(7.6, 7.2)))
    late.play(66.0, work=False).work()
    assert sum(o.samples for o in late.of(Overrun)) > RATE
    assert late.texts()[1] == "w7 w8"


def test_an_utterance_of_a_minute_is_windows_that_join() -> None:
    stage = Stage((started(0.5), ended(60.5, 60.5, cut=True), started(60.5), ended(64, 63))).play(64).stop()
    first, second = stage.texts()
    assert first.split() == [f"w{n}" for n in _joined(first)]
    assert sorted(set(_joined(first))) == list(range(1, 62))
    assert second == "w61 w62 w63"
    assert max(len(decode.pcm) for decode in stage.asked) <= (FULL_S + 1.5) * RATE
    assert not stage.of(Overrun)
    _stable_only_grows(stage)


def _joined(text: str) -> list[int]:
    return [int(word[1:]) for word in text.split()]


def test_push_to_talk_is_one_utterance_until_it_is_stopped() -> None:
    cues = (started(1.0), paused(2.0), ended(2.4, 2.0), started(5.0), paused(6.0), ended(6.4, 6.0))
    stage = Stage(cues, Mode.PUSH_TO_TALK).play(8)
    assert not stage.of(Finished)
    asked = len(stage.asked)
    stage.stop()
    assert stage.texts() == ["w2 w3 w4 w5 w6"]
    # When the voice is heard is told all the same.
    voice = [type(output) for output in stage.told if isinstance(output, (VoiceStarted, VoiceStopped))]
    assert voice == [VoiceStarted, VoiceStopped] * 2
    assert len(stage.asked) == asked  # made in the pause, and nothing was said since
    assert stage.of(Done) == [Done(1)]


def test_push_to_talk_that_is_stopped_in_a_word_decodes_all_of_it() -> None:
    stage = Stage((started(1.0),), Mode.PUSH_TO_TALK, end=(Ended(3 * RATE, 3 * RATE, 3 * RATE, RATE),))
    stage.play(3).stop()
    assert stage.texts() == ["w2 w3"]
    assert stage.asked[-1].live.final
    assert stage.asked[-1].live.voiced_s == 1.0


@pytest.mark.parametrize("mode", Mode)
def test_nothing_said(mode: Mode) -> None:
    stage = Stage((), mode).play(5).stop()
    assert stage.asked == []
    if mode is Mode.PUSH_TO_TALK:  # somebody waits for an answer
        (nothing,) = stage.of(Finished)
        assert (nothing.utterance, nothing.outcome.result.no_speech) == (0, "no-voice")
    assert stage.of(Done) == [Done(1 if mode is Mode.PUSH_TO_TALK else 0)]


def test_a_click_is_no_utterance() -> None:
    stage = Stage((started(1.0), dropped(1.4))).play(3).stop()
    (nothing,) = stage.of(Finished)
    assert nothing.outcome.result.no_speech == "no-voice"
    assert nothing.outcome.result.text == ""


def test_push_to_talk_is_cut_at_its_limit() -> None:
    stage = Stage((started(1.0),), Mode.PUSH_TO_TALK, longest_s=10.0).play(14).stop()
    assert [(f.start, f.end) for f in stage.of(Finished)] == [(RATE, 11 * RATE), (11 * RATE, 14 * RATE)]
    whole = Stage((started(1.0),), Mode.PUSH_TO_TALK, longest_s=None).play(70).stop()
    assert len(whole.of(Finished)) == 1


def test_a_busy_worker_is_asked_again_with_the_next_samples() -> None:
    stage = Stage(UTTERANCE).play(3.9)
    stage.play(0.3, work=False)
    assert stage.running is not None
    key, stage.running = stage.running.key, None
    assert stage.stream.job_refused(key, QueueFull("full")) == []
    asked = len(stage.asked)
    stage.play(1.0)
    assert len(stage.asked) > asked
    assert stage.texts() == ["w2 w3 w4 w5"]


@pytest.mark.parametrize("error", [QueueFull("full"), ShuttingDown("stopping")])
def test_a_final_text_that_cannot_be_made_any_more_is_an_error(error: WhisperdError) -> None:
    stage = Stage(UTTERANCE).play(3.9).stop(work=False)
    assert stage.running is not None
    stage._note(stage.stream.job_refused(stage.running.key, error))
    assert [f.outcome.result for f in stage.of(Finished)] == [error]
    assert stage.of(Done)


def test_a_model_that_fails_costs_its_utterance_and_no_endless_tries() -> None:
    stage = Stage((*UTTERANCE, started(6.0), paused(8.2), ended(8.6, 8.2)))
    for _ in range(47):
        stage.play(0.1, work=False).work(InternalError("broken"))
    assert len(stage.asked) < 15
    (failed,) = stage.of(Finished)
    assert isinstance(failed.outcome.result, InternalError)
    stage.play(4.3)
    assert stage.of(Finished)[-1].outcome.result.text == "w7 w8 w9"


def test_a_window_that_fails_fails_its_utterance() -> None:
    stage = Stage((started(0.5),), Mode.PUSH_TO_TALK)
    for _ in range(300):
        stage.play(0.1, work=False)
        final = stage.running is not None and stage.running.live.final
        stage.work(InternalError("broken") if final else None)
    stage.stop()
    (failed,) = stage.of(Finished)
    assert isinstance(failed.outcome.result, InternalError)


def test_a_partial_pass_that_was_pushed_aside_is_no_error() -> None:
    stage = Stage(UTTERANCE).play(2.0).play(0.4, work=False).work(Cancelled("a final one came"))
    stage.play(2.6)
    assert stage.texts() == ["w2 w3 w4 w5"]


def test_abandoned_means_nothing_more() -> None:
    stage = Stage(UTTERANCE).play(3.0).play(0.4, work=False)
    assert [type(o) for o in stage.stream.abandon()] == [Drop]
    assert stage.stream.job_done(stage.asked[-1].key, Outcome(spoken(np.ones(9, np.int16), Known()), 0, 0)) == []
    assert not stage.stream.busy
    with pytest.raises(ValueError, match="stopped"):
        stage.stream.push(np.zeros(1, np.int16))


def test_lost_samples_are_told() -> None:
    assert LiveStream(Cues(()), Mode.HANDS_FREE, lambda: 0).push(np.zeros(0, np.int16), 77) == [Overrun(77)]


def test_levels_are_twenty_a_second_at_most_and_in_decibels() -> None:
    stream = LiveStream(Cues(()), Mode.HANDS_FREE, lambda: 0)
    half = np.tile(np.array([16384, -16384], np.int16), 400)
    told = [o for _ in range(40) for o in stream.push(half[:400])]
    assert len(told) == 20
    assert all(isinstance(o, Level) and abs(o.rms + 6.02) < 0.01 and abs(o.peak + 6.02) < 0.01 for o in told)
    (silence,) = stream.push(np.zeros(800, np.int16))
    assert silence == Level(-96.0, -96.0)


def _stable_only_grows(stage: Stage) -> None:
    stood: dict[int, str] = {}
    for output in stage.told:
        if isinstance(output, Shown):
            assert output.stable.startswith(stood.get(output.utterance, ""))
            stood[output.utterance] = output.stable
        elif isinstance(output, Finished) and isinstance(output.outcome.result, Transcription):
            assert output.outcome.result.text.startswith(stood.get(output.utterance, "").strip())


@settings(deadline=None, max_examples=40)
@given(
    moments=st.lists(st.floats(0.2, 9.0), min_size=1, max_size=8),
    lazy=st.lists(st.booleans(), min_size=10, max_size=10),
    mode=st.sampled_from(Mode),
)
def test_whatever_happens_stable_text_stays_and_every_utterance_is_answered(
    moments: list[float], lazy: list[bool], mode: Mode
) -> None:
    cues: list[Cue] = []
    at = 0.0
    for number, moment in enumerate(moments):
        at = round(at + moment, 1)
        silence = round(at + 0.2, 1)
        if number % 2 == 0:
            cues.append(started(at))
        elif number % 4 == 1:
            cues += [paused(silence), ended(round(silence + 0.4, 1), silence)]
            at = round(silence + 0.4, 1)
        else:
            cues += [paused(silence), resumed(round(silence + 0.2, 1)), ended(round(silence + 0.7, 1), silence)]
            at = round(silence + 0.7, 1)
    stage = Stage(cues, mode)
    for work in lazy:
        stage.play((at + 1) / 10, work=not work)
    stage.stop()
    _stable_only_grows(stage)
    numbers = [f.utterance for f in stage.of(Finished)]
    assert numbers == list(range(len(numbers)))
    assert len(stage.of(Done)) == 1
    assert isinstance(stage.told[-1], Done)
    assert not stage.stream.busy
