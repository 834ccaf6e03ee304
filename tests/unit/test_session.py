"""One connection without a socket: what it answers, what it submits, and that it lets go of everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.actions import Action, Cancel, Close, Report, Send, Submit
from whisperd.clip import Budget
from whisperd.config import Limits
from whisperd.errors import InternalError, UnknownLanguage
from whisperd.protocol import Outcome
from whisperd.session import Session
from whisperd.speech.options import Options
from whisperd.speech.types import ModelInfo, Segment, Timings, Transcription
from whisperd.wire import Event, encode

FORM = {"rate": 16000, "width": 2, "channels": 1}
MODEL = ModelInfo(
    name="base",
    languages=("en", "de"),
    default_language="en",
    allowed_languages=("en", "de"),
    multilingual=True,
    precision="int8",
    licence="MIT",
    source="",
)


class Daemon:
    """What a session asks about its daemon."""

    model = MODEL

    def check(self, options: Options) -> None:
        if options.language not in (None, "auto", *MODEL.languages):
            raise UnknownLanguage(f"no {options.language}")

    def status(self) -> dict[str, Any]:
        return {"state": "idle"}


class Talk:
    """A session, and what has come of it."""

    def __init__(self, **limits: Any) -> None:
        self.limits = Limits(**limits)
        self.budget = Budget(self.limits.max_buffered_seconds)
        self.session = Session(Daemon(), self.limits, self.budget)
        self.actions: list[Action] = []

    def raw(self, data: bytes) -> Talk:
        self.session.receive_data(data)
        while (actions := self.session.next_actions()) is not None:
            self.actions += actions
        return self

    def send(self, event_type: str, payload: bytes = b"", **data: Any) -> Talk:
        return self.raw(encode(Event(event_type, data, payload)))

    def hello(self) -> Talk:
        self.send("hello", protocol=1, features=["segments"])
        self.taken()
        return self

    def clip(self, samples: int = 1600) -> Talk:
        self.send("audio-start", **FORM)
        for start in range(0, samples, 16000):
            self.send("audio-chunk", b"\1\0" * min(16000, samples - start), **FORM)
        return self.send("audio-stop")

    def taken(self) -> list[Action]:
        taken, self.actions = self.actions, []
        return taken

    def said(self) -> list[tuple[str, dict[str, Any]]]:
        """Events sent, other actions left out."""
        return [(a.event.type, a.event.data) for a in self.taken() if isinstance(a, Send)]

    def codes(self) -> list[str]:
        return [data["code"] for kind, data in self.said() if kind == "error"]


def transcription(text: str = "hello") -> Outcome:
    segment = Segment(0.0, 0.1, f" {text}", (1, 2), -0.25, float("nan"))
    return Outcome(Transcription(text, "en", 0.1, (segment,), Timings(1.0, 2.0, 3.0)), 0.5, 0.01)


def test_a_stranger_s_conversation() -> None:
    talk = Talk()
    talk.send("describe").send("ping", text="x")
    (info, details), pong = talk.said()
    assert info == "info" and details["asr"][0]["models"][0]["languages"] == ["en", "de"]
    assert pong == ("pong", {"text": "x"})
    talk.send("transcribe", language="de").clip(3200)
    (submit,) = talk.taken()
    assert isinstance(submit, Submit)
    assert submit.options == Options(language="de")
    assert submit.pcm.dtype == np.int16 and submit.pcm.tolist() == [1] * 3200
    assert talk.session.job_queued(submit.key, 3) == []
    answer, report = talk.session.job_done(submit.key, transcription())
    assert isinstance(answer, Send) and answer.event == Event("transcript", {"text": "hello", "language": "en"})
    assert isinstance(report, Report) and report.outcome == "transcribed"
    assert talk.budget.held_s == 0


def test_after_hello_answers_carry_ids_and_all_that_is_known() -> None:
    talk = Talk().hello()
    talk.send("transcribe", id="r1").clip()
    (submit,) = talk.taken()
    assert isinstance(submit, Submit)
    (queued,) = talk.session.job_queued(submit.key, 2)
    assert isinstance(queued, Send) and queued.event == Event("queued", {"id": "r1", "position": 2})
    answer = talk.session.job_done(submit.key, transcription())[0]
    assert isinstance(answer, Send)
    data = answer.event.data
    assert data["id"] == "r1"
    assert (data["queue_ms"], data["features_ms"], data["encode_ms"], data["decode_ms"]) == (500.0, 1.0, 2.0, 3.0)
    assert data["rtf"] == 0.1
    assert data["segments"] == [
        {
            "start": 0.0,
            "end": 0.1,
            "text": " hello",
            "avg_logprob": -0.25,
            "no_speech_prob": None,
            "compression_ratio": 1.0,
            "temperature": 0.0,
        }
    ]
    talk.send("status", id="s")
    assert talk.said() == [("status", {"id": "s", "state": "idle"})]


def test_unknown_events_are_ignored_in_every_phase() -> None:
    talk = Talk().send("hotword").send("audio-start", **FORM).send("detect").send("audio-stop").send("x-y", b"123")
    assert talk.codes() == ["bad-audio"]


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([("audio-chunk", FORM, b"\0\0")], "unexpected-event"),
        ([("audio-start", {**FORM, "width": 3.0}, b"")], "bad-event"),
        ([("audio-start", {**FORM, "rate": 2**70}, b"")], "bad-format"),
        ([("audio-start", FORM, b""), ("audio-chunk", {"rate": 8000}, b"\0\0")], "bad-format"),
        ([("audio-start", FORM, b""), ("audio-chunk", FORM, b"\0")], "bad-payload"),
        ([("audio-start", FORM, b""), ("audio-stop", {}, b"")], "bad-audio"),
        ([("transcribe", {"language": "xx"}, b"")], "unknown-language"),
        ([("transcribe", {"name": "huge"}, b"")], "unknown-model"),
        ([("cancel", {}, b"")], "unexpected-event"),
        ([("status", {}, b"")], "unexpected-event"),
        ([("hello", {"protocol": "1"}, b"")], "bad-event"),
    ],
)
def test_mistakes_are_answered_and_the_connection_goes_on(events: list[Any], code: str) -> None:
    talk = Talk()
    for kind, data, payload in events:
        talk.send(kind, payload, **data)
    assert talk.codes() == [code]
    talk.send("audio-stop").taken()
    talk.send("transcribe").clip()
    assert [type(action) for action in talk.taken()] == [Submit]


def test_the_audio_of_a_refused_request_is_dropped_without_a_second_error() -> None:
    talk = Talk().send("transcribe", language="xx").clip()
    assert talk.codes() == ["unknown-language"]
    assert talk.budget.held_s == 0
    assert [type(a) for a in talk.clip().taken()] == [Submit]


def test_a_clip_at_the_limit_and_one_sample_over() -> None:
    talk = Talk(max_clip_seconds=2).clip(32000)
    (submit,) = talk.taken()
    assert isinstance(submit, Submit) and len(submit.pcm) == 32000
    talk.clip(32001)
    assert talk.codes() == ["audio-too-long"]
    assert talk.session.closed


def test_the_budget_at_the_limit_and_one_sample_over() -> None:
    talk = Talk(max_buffered_seconds=2)
    talk.clip(32000)
    assert [type(a) for a in talk.taken()] == [Submit]
    assert talk.budget.held_s == 2
    talk.clip(1)
    assert talk.codes() == ["queue-full"]
    assert talk.session.closed


def test_jobs_of_a_connection_at_the_limit_and_one_over() -> None:
    talk = Talk(max_jobs_per_connection=2).clip().clip()
    assert [type(a) for a in talk.taken()] == [Submit, Submit]
    talk.clip()
    assert talk.codes() == ["queue-full"]


def test_cancel_answers_at_once_and_swallows_the_late_result() -> None:
    talk = Talk().hello()
    talk.send("transcribe", id="a").clip()
    (submit,) = talk.taken()
    assert isinstance(submit, Submit)
    talk.session.job_queued(submit.key, 0)
    talk.send("cancel", id="a")
    cancel, report, answer = talk.taken()
    assert cancel == Cancel(submit.key)
    assert isinstance(report, Report) and report.outcome == "cancelled"
    assert isinstance(answer, Send) and answer.event == Event("cancelled", {"id": "a", "count": 1})
    assert talk.budget.held_s > 0  # the worker still has the clip
    assert talk.session.job_done(submit.key, transcription()) == []
    assert talk.budget.held_s == 0
    talk.send("cancel", id="a")
    assert talk.said() == [("cancelled", {"id": "a", "count": 0})]


def test_cancel_in_the_middle_of_a_clip() -> None:
    talk = Talk().hello()
    talk.send("transcribe", id="a").send("audio-start", **FORM).send("audio-chunk", b"\0" * 3200, **FORM)
    talk.send("cancel", id="a")
    assert ("cancelled", {"id": "a", "count": 1}) in talk.said()
    assert talk.budget.held_s == 0
    talk.send("audio-chunk", b"\0" * 3200, **FORM).send("audio-stop")
    assert talk.taken() == []


def test_an_id_in_use_is_refused() -> None:
    talk = Talk().hello().send("transcribe", id="a").clip().send("transcribe", id="a")
    assert talk.codes() == ["bad-event"]


@pytest.mark.parametrize("bad", ["", "x" * 65, "a b", "a\nb", 7, ["a"]])
def test_ids_that_could_look_like_something_else_are_refused(bad: object) -> None:
    assert Talk().hello().send("transcribe", id=bad).codes() == ["bad-event"]


def test_a_failed_job_is_an_error_of_its_request() -> None:
    talk = Talk().hello().send("transcribe", id="a").clip()
    (submit,) = talk.taken()
    assert isinstance(submit, Submit)
    talk.actions += talk.session.job_done(submit.key, Outcome(InternalError("broke"), 0.0, 0.0))
    assert talk.said() == [("error", {"id": "a", "text": "broke", "code": "internal", "retry": False})]
    assert not talk.session.closed


def test_leaving_cancels_everything_and_gives_the_budget_back() -> None:
    talk = Talk().clip()
    (submit,) = talk.taken()
    assert isinstance(submit, Submit)
    talk.send("audio-start", **FORM).send("audio-chunk", b"\0" * 3200, **FORM)
    actions = talk.session.connection_lost()
    assert Cancel(submit.key) in actions
    assert not any(isinstance(action, Send) for action in actions)
    assert talk.session.job_done(submit.key, transcription()) == []
    assert talk.budget.held_s == 0


def test_end_of_input_waits_for_the_answer_and_then_closes() -> None:
    talk = Talk().clip()
    (submit,) = talk.taken()
    assert isinstance(submit, Submit)
    assert talk.session.receive_eof() == []
    kinds = [type(action) for action in talk.session.job_done(submit.key, transcription())]
    assert kinds == [Send, Report, Close]


def test_shutdown_finishes_what_runs_and_refuses_what_comes() -> None:
    talk = Talk().clip()
    (submit,) = talk.taken()
    assert isinstance(submit, Submit)
    talk.actions += talk.session.shutdown()
    talk.send("transcribe")
    assert talk.codes() == ["shutting-down"]
    talk.actions += talk.session.job_done(submit.key, transcription())
    assert [kind for kind, _ in talk.said()] == ["transcript", "error"]
    assert talk.session.closed


steps = st.lists(
    st.sampled_from(
        [
            ("transcribe", {}, b""),
            ("transcribe", {"language": "xx"}, b""),
            ("audio-start", FORM, b""),
            ("audio-start", {**FORM, "width": 9}, b""),
            ("audio-chunk", FORM, b"\1\0" * 50),
            ("audio-chunk", FORM, b"\1"),
            ("audio-stop", {}, b""),
            ("hello", {"protocol": 1}, b""),
            ("cancel", {}, b""),
            ("ping", {}, b""),
            ("describe", {}, b""),
            ("what", {}, b"xyz"),
        ]
    ),
    max_size=25,
)


def trace(actions: list[Action]) -> list[Any]:
    """Actions as values that can be compared."""
    return [(type(a).__name__, a.key, a.pcm.tobytes(), a.options) if isinstance(a, Submit) else a for a in actions]


@settings(max_examples=200, deadline=None)
@given(steps, st.lists(st.integers(0, 4000), max_size=20))
def test_any_order_and_any_split_give_the_same_actions_and_nothing_is_leaked(
    sent: list[Any], cuts: list[int]
) -> None:
    raw = b"".join(encode(Event(kind, data, payload)) for kind, data, payload in sent)
    whole, parts = Talk(max_jobs_per_connection=3), Talk(max_jobs_per_connection=3)
    whole.raw(raw)
    places = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    for start, end in zip(places, places[1:], strict=False):
        parts.raw(raw[start:end])
    assert trace(parts.actions) == trace(whole.actions)
    for talk in (whole, parts):
        jobs = [a.key for a in talk.actions if isinstance(a, Submit)]
        talk.session.connection_lost()
        for key in jobs:
            talk.session.job_done(key, transcription())
        assert talk.budget.held_s == 0


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_garbage_ends_in_at_most_one_error_and_a_close(garbage: bytes) -> None:
    talk = Talk().raw(garbage)
    errors = [a for a in talk.actions if isinstance(a, Send) and a.event.type == "error"]
    closes = [a for a in talk.actions if isinstance(a, Close)]
    assert len(closes) <= 1
    assert bool(closes) == talk.session.closed
    assert not closes or len(errors) >= 1
