"""A session that listens: what its client is told, of either kind, and that it lets go of everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_live import Cue, Cues, ended, paused, spoken, started
from test_session import FORM, Daemon, Talk
from whisperd.actions import Action, Cancel, Close, Listen, Report, Submit, Unlisten, Warn
from whisperd.clip import Budget
from whisperd.config import Limits
from whisperd.errors import InternalError, NoMicrophone, QueueFull
from whisperd.listening import SHARE
from whisperd.live import LiveStream
from whisperd.protocol import Mode, Outcome, Priority
from whisperd.session import Session
from whisperd.speech.types import Timings, Transcription
from whisperd.wire import Event, encode

UTTERANCE: Sequence[Cue] = (started(0.5), paused(3.0), ended(3.4, 3.0))
SECOND = np.arange(16_000, dtype=np.int16)


class LiveDaemon(Daemon):
    """A daemon whose streams have the utterances that the test wants."""

    microphone = "mic"

    def __init__(self, cues: Sequence[Cue] = UTTERANCE) -> None:
        self.cues = cues
        self.asked: list[tuple[Mode, str, bool]] = []

    def devices(self) -> list[dict[str, Any]]:
        return [{"name": "mic", "description": "", "default": True}]

    def new_stream(
        self, mode: Mode, vad_sensitivity: str, new_key: Callable[[], int], *, clip: bool
    ) -> LiveStream:
        self.asked.append((mode, vad_sensitivity, clip))
        return LiveStream(Cues(self.cues), mode, new_key, longest_s=None, levels=not clip)


class LiveTalk(Talk):
    """A session, its worker, which is done at once, and the hand that holds the microphone."""

    def __init__(self, cues: Sequence[Cue] = UTTERANCE, **limits: Any) -> None:
        self.limits = Limits(**limits)
        self.budget = Budget(self.limits.max_buffered_seconds)
        self.daemon = LiveDaemon(cues)
        self.session = Session(self.daemon, self.limits, self.budget)
        self.actions: list[Action] = []
        self.submitted: list[Submit] = []
        self.now = 0.0
        self.sounds = 0

    def raw(self, data: bytes) -> LiveTalk:
        self.session.receive_data(data, self.now)
        while (actions := self.session.next_actions()) is not None:
            self.do(actions)
        return self

    def do(self, actions: list[Action]) -> LiveTalk:
        for action in actions:
            self.actions.append(action)
            if isinstance(action, Submit):
                self.submitted.append(action)
                live = action.options.live
                result = (
                    spoken(action.pcm, live.known)
                    if live
                    else Transcription("whole", "en", 1.0, (), Timings(0, 0, 0))
                )
                self.do(self.session.job_queued(action.key, 0))
                self.do(self.session.job_done(action.key, Outcome(result, 0.0, 0.01)))
        return self

    def sound(self) -> np.ndarray:
        """The next 100 ms: each second has its number for samples, so that `spoken` hears words."""
        self.sounds += 1
        return np.full(1600, (self.sounds - 1) // 10 + 1, np.int16)

    def hear(self, seconds: float, lost: int = 0) -> LiveTalk:
        for _ in range(round(seconds * 10)):
            self.do(self.session.heard(self.sound(), lost))
            lost = 0
        return self

    def speak(self, seconds: float, pace: float = 1.0) -> LiveTalk:
        """Send chunks of 100 ms; they come at `pace` times the speed of speech."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1 / pace
            self.send("audio-chunk", self.sound().tobytes(), **FORM)
        return self

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.said()]


def listening(cues: Sequence[Cue] = UTTERANCE, **options: Any) -> LiveTalk:
    talk = LiveTalk(cues)
    talk.hello()
    talk.send("listen", id="m", **options)
    talk.do(talk.session.microphone_opened())
    return talk


def without_repeats(kinds: list[str]) -> list[str]:
    return [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]


def test_listening_from_the_first_word_to_the_last() -> None:
    talk = listening()
    assert any(isinstance(action, Listen) for action in talk.actions)
    assert talk.said() == [("listening", {"id": "m", "mode": "hands-free", "device": "mic"})]
    talk.hear(4.0)
    told = [(kind, data) for kind, data in talk.said() if kind != "level"]
    assert without_repeats([kind for kind, _ in told]) == [
        "voice-started",
        "partial",
        "voice-stopped",
        "transcript",
    ]
    assert all(data["id"] == "m" for _, data in told)
    partials = [data for kind, data in told if kind == "partial"]
    assert [p["revision"] for p in partials] == list(range(len(partials)))
    assert told[0][1]["timestamp"] == 500
    final = told[-1][1]
    assert (final["utterance"], final["start"], final["end"]) == (0, 0.5, 3.0)
    assert final["text"].startswith(partials[-1]["stable"])
    talk.send("listen-stop", id="m")
    assert [type(action) for action in talk.taken() if not hasattr(action, "event")] == [Unlisten]
    assert not talk.session.busy
    assert talk.budget.held_s == 0


def test_stopping_within_a_word_finishes_it() -> None:
    talk = listening(mode="push-to-talk")
    talk.hear(2.0)
    talk.said()
    talk.send("listen-stop")
    assert [kind for kind in talk.kinds() if kind != "level"] == ["voice-stopped", "transcript", "listen-stopped"]


def test_partial_texts_wait_for_nobody_and_final_ones_go_first() -> None:
    talk = listening()
    talk.hear(4.0)
    priorities = {submit.priority for submit in talk.submitted if not submit.options.live.final}  # type: ignore[union-attr]
    assert priorities == {Priority.PARTIAL}
    assert talk.submitted[-1].priority is Priority.FINAL


def test_barge_in_cancel_and_listen_again_in_one_breath() -> None:
    talk = listening()
    talk.hear(2.0)
    talk.taken()
    talk.raw(encode(Event("cancel", {"id": "m"})) + encode(Event("listen", {"id": "n"})))
    actions = talk.taken()
    kinds = [type(action) for action in actions if not hasattr(action, "event")]
    assert kinds == [Unlisten, Report, Listen]
    talk.do(talk.session.microphone_opened())
    talk.hear(4.0)
    told = [data for kind, data in talk.said() if kind == "transcript"]
    assert [data["id"] for data in told] == ["n"]


def test_cancel_drops_what_the_worker_has() -> None:
    talk = LiveTalk()
    talk.hello()
    talk.send("listen", id="m")
    talk.taken()
    submitted: list[Submit] = []
    for _ in range(20):
        actions = talk.session.heard(SECOND[:1600], 0)
        submitted += [action for action in actions if isinstance(action, Submit)]
    assert len(submitted) == 1
    talk.send("cancel")
    assert Cancel(submitted[0].key) in talk.taken()
    # What it makes of it all the same is nobody's.
    late = Outcome(spoken(SECOND, submitted[0].options.live.known), 0.0, 0.1)  # type: ignore[union-attr]
    assert talk.session.job_done(submitted[0].key, late) == []
    assert talk.session.heard(SECOND, 0) == []


def test_no_microphone() -> None:
    talk = LiveTalk()
    talk.hello()
    talk.send("listen", id="m")
    talk.taken()
    talk.do(talk.session.microphone_failed(NoMicrophone("the microphone 'mic' is not there")))
    ((kind, data),) = talk.said()
    assert (kind, data["code"], data["id"], data["retry"]) == ("error", "no-microphone", "m", True)
    assert talk.budget.held_s == 0
    talk.send("listen", id="m")
    assert any(isinstance(action, Listen) for action in talk.taken())


def test_a_microphone_that_vanishes_and_is_back() -> None:
    talk = listening()
    talk.taken()
    talk.do(talk.session.microphone_lost("unplugged", 0.25))
    talk.do(talk.session.microphone_restored())
    assert talk.said() == [
        ("mic-lost", {"id": "m", "text": "unplugged", "retry_seconds": 0.25}),
        ("mic-restored", {"id": "m"}),
    ]
    assert "transcript" in talk.hear(4.0).kinds()


def test_lost_samples_are_told_and_logged() -> None:
    talk = listening()
    talk.taken()
    talk.hear(0.1, lost=800)
    actions = talk.taken()
    assert any(isinstance(action, Warn) and "0.05 s" in action.text for action in actions)
    talk.actions = actions
    assert ("overrun", {"id": "m", "samples": 800, "seconds": 0.05}) in talk.said()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"mode": "shout"}, "bad-event"),
        ({"vad_sensitivity": "high"}, "bad-event"),
        ({"language": "xx"}, "unknown-language"),
        ({"id": "spaces are none"}, "bad-event"),
        ({"live": 1}, "bad-event"),
        ({"name": "large"}, "unknown-model"),
    ],
)
def test_a_wrong_listen_is_refused_and_costs_nothing(data: dict[str, Any], code: str) -> None:
    talk = LiveTalk()
    talk.hello()
    talk.send("listen", **data)
    assert talk.codes() == [code]
    assert talk.budget.held_s == 0
    assert not talk.session.busy


def test_listening_is_always_live() -> None:
    talk = LiveTalk()
    talk.hello()
    talk.send("listen", live=False)
    assert any(isinstance(action, Listen) for action in talk.taken())


def test_listen_says_hello_first_and_once_at_a_time() -> None:
    assert LiveTalk().send("listen").codes() == ["unexpected-event"]
    talk = listening()
    talk.send("listen", id="again")
    assert talk.codes() == ["unexpected-event"]
    talk.send("transcribe", live=True).send("audio-start", **FORM)
    assert talk.codes() == ["unexpected-event"]
    assert LiveTalk().hello().send("listen-stop").codes() == ["unexpected-event"]
    sending = LiveTalk()
    sending.hello()
    sending.send("audio-start", **FORM).send("listen")
    assert sending.codes() == ["unexpected-event"]


def test_no_memory_for_another_stream() -> None:
    talk = LiveTalk(max_buffered_seconds=SHARE / 16_000 - 1, max_clip_seconds=10)
    talk.hello()
    talk.send("listen")
    assert talk.codes() == ["queue-full"]
    assert not talk.session.closed
    exact = LiveTalk(max_buffered_seconds=SHARE / 16_000, max_clip_seconds=10)
    exact.hello()
    exact.send("listen")
    assert exact.codes() == []
    # A clip that cannot be followed is transcribed all the same.
    exact.send("cancel")
    full = LiveTalk(max_buffered_seconds=20, max_clip_seconds=10)
    full.send("audio-start", **FORM).speak(4.0).send("audio-stop")
    assert full.kinds() == ["transcript"]


def test_devices_are_those_of_the_daemon() -> None:
    talk = LiveTalk()
    assert talk.send("devices").codes() == ["unexpected-event"]
    talk.hello()
    talk.send("devices", id="d")
    listed = {"id": "d", "devices": [{"name": "mic", "description": "", "default": True}]}
    assert talk.said() == [("devices", listed)]


def test_an_error_of_an_utterance_has_its_number_and_listening_goes_on() -> None:
    talk = LiveTalk((*UTTERANCE, started(4.5), paused(6.0), ended(6.4, 6.0)))
    talk.hello()
    talk.send("listen", id="m")
    talk.do(talk.session.microphone_opened())
    for _ in range(35):
        for action in talk.session.heard(talk.sound(), 0):
            talk.actions.append(action)
            if isinstance(action, Submit):
                broken = Outcome(InternalError("broken"), 0.0, 0.1)
                talk.actions += talk.session.job_done(action.key, broken)
    errors = [data for kind, data in talk.said() if kind == "error"]
    assert [(error["id"], error["utterance"], error["code"]) for error in errors] == [("m", 0, "internal")]
    assert "transcript" in talk.hear(3.0).kinds()


def test_a_pushed_stream_of_utterances() -> None:
    talk = LiveTalk()
    talk.hello()
    talk.send("transcribe", id="s", live=True, vad_sensitivity="relaxed")
    talk.send("audio-start", **FORM).speak(4.0)
    assert talk.daemon.asked == [(Mode.HANDS_FREE, "relaxed", False)]
    assert "transcript" in talk.kinds()
    talk.send("audio-stop")
    assert talk.said() == [("listen-stopped", {"id": "s", "utterances": 1})]
    assert talk.budget.held_s == 0
    talk.send("transcribe", id="s", live=True).send("audio-start", **FORM).send("audio-chunk", b"\1", **FORM)
    assert talk.codes() == ["bad-payload"]
    assert talk.budget.held_s == 0


def test_a_wyoming_client_that_speaks_gets_its_text_in_pieces() -> None:
    talk = LiveTalk()
    talk.send("transcribe", language="en").send("audio-start", **FORM).speak(2.9)
    talk.send("audio-stop")
    told = talk.said()
    kinds = without_repeats([kind for kind, _ in told])
    assert kinds[:3] == ["voice-started", "transcript-start", "transcript-chunk"]
    assert kinds[-3:] == ["transcript-chunk", "transcript", "transcript-stop"]
    assert "voice-stopped" in kinds
    text = next(data["text"] for kind, data in told if kind == "transcript")
    assert "".join(data["text"] for kind, data in told if kind == "transcript-chunk") == text
    assert talk.budget.held_s == 0


def test_a_client_with_hello_that_speaks_gets_partials_and_one_answer() -> None:
    talk = LiveTalk()
    talk.hello()
    talk.send("transcribe", id="c").send("audio-start", **FORM).speak(4.0).send("audio-stop")
    kinds = talk.kinds()
    assert kinds.count("transcript") == 1
    assert kinds[-1] == "transcript"
    assert "partial" in kinds
    assert "level" not in kinds and "listen-stopped" not in kinds


@pytest.mark.parametrize("pace", [8.0, 1000.0])
def test_a_file_is_not_followed(pace: float) -> None:
    talk = LiveTalk()
    talk.send("audio-start", **FORM).speak(20.0, pace).send("audio-stop")
    assert [kind for kind in talk.kinds() if not kind.startswith("voice")][-1] == "transcript"
    assert talk.submitted[-1].options.live is None
    assert len(talk.submitted[-1].pcm) == 320_000
    assert talk.budget.held_s == 0
    if pace > 100:
        assert talk.daemon.asked == []


def test_work_that_may_wait_is_not_followed() -> None:
    talk = LiveTalk()
    talk.hello()
    talk.send("transcribe", priority="file").send("audio-start", **FORM).speak(2.0).send("audio-stop")
    assert talk.daemon.asked == []


@pytest.mark.parametrize(
    ("chosen", "followed"),
    [({"beam_size": 5}, False), ({"without_timestamps": False}, False), ({"initial_prompt": "Hi."}, True)],
)
def test_what_cannot_be_chosen_for_live_speech_is_not_followed(chosen: dict[str, object], followed: bool) -> None:
    talk = LiveTalk()
    talk.hello()
    talk.send("transcribe", **chosen).send("audio-start", **FORM).speak(2.0).send("audio-stop")
    assert bool(talk.daemon.asked) == followed
    assert (talk.submitted[-1].options.live is not None) == followed
    assert [getattr(talk.submitted[-1].options, name) for name in chosen] == list(chosen.values())


def test_a_clip_of_which_something_was_lost_is_transcribed_from_its_own_copy() -> None:
    talk = LiveTalk()
    talk.send("audio-start", **FORM).speak(2.0)
    ride = talk.session._ride
    assert ride is not None
    ride.heard_all = False
    talk.send("audio-stop")
    assert talk.submitted[-1].options.live is None
    assert len(talk.submitted[-1].pcm) == 32_000
    assert talk.budget.held_s == 0


@pytest.mark.parametrize("end", ["cancel", "eof", "shutdown", "lost", "fail", "interrupt"])
@pytest.mark.parametrize("source", ["microphone", "pushed", "clip"])
def test_whatever_ends_it_everything_is_let_go_of(source: str, end: str) -> None:
    talk = listening() if source == "microphone" else LiveTalk()
    if source == "microphone":
        talk.hear(2.0)
    else:
        talk.hello()
        talk.send("transcribe", id="m", live=source == "pushed").send("audio-start", **FORM).speak(2.0)
    talk.taken()
    if end == "cancel":
        talk.send("cancel", id="m")
    elif end == "interrupt":
        talk.send("transcribe", id="x").send("cancel")
    else:
        finish = {
            "eof": talk.session.receive_eof,
            "shutdown": talk.session.shutdown,
            "lost": talk.session.connection_lost,
            "fail": lambda: talk.session.fail(QueueFull("enough")),
        }[end]
        talk.do(finish())
        assert talk.session.closed
        assert end == "lost" or any(isinstance(action, Close) for action in talk.actions)
    if source == "microphone":
        if end == "interrupt":  # `cancel` without an id
            pass
        assert any(isinstance(action, Unlisten) for action in talk.actions)
    assert talk.budget.held_s == 0
    assert not talk.session.busy
    assert talk.session._microphone is None


def test_a_client_that_sends_nothing_more_is_not_waited_for() -> None:
    talk = LiveTalk()
    talk.hello()
    talk.send("transcribe", live=True).send("audio-start", **FORM).speak(1.0)
    assert not talk.session.busy  # so that it is closed when it has been silent for too long
    assert listening().session.busy


def test_streams_of_one_connection_are_bounded() -> None:
    talk = LiveTalk(max_jobs_per_connection=1)
    talk.hello()
    talk.send("listen", id="m")
    talk.taken()
    # A clip beside it is not followed, but transcribed.
    talk.send("audio-start", **FORM).speak(2.0).send("audio-stop")
    assert talk.submitted[-1].options.live is None
    assert "transcript" in talk.kinds()


STEPS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                ("hello", {"protocol": 1}),
                ("listen", {"id": "m"}),
                ("listen", {"mode": "push-to-talk"}),
                ("listen", {"mode": "?"}),
                ("listen-stop", {}),
                ("listen-stop", {"id": "m"}),
                ("cancel", {}),
                ("cancel", {"id": "m"}),
                ("transcribe", {"id": "t", "live": True}),
                ("transcribe", {"id": "u"}),
                ("audio-start", FORM),
                ("audio-stop", {}),
                ("devices", {}),
            ]
        ),
        st.tuples(st.sampled_from(["hear", "push", "wait", "work", "refuse"]), st.integers(1, 9)),
        st.sampled_from([("open", 0), ("fail", 0), ("lost", 0)]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from(["lost", "eof", "shutdown"]))
def test_whatever_order_things_happen_in_nothing_breaks_and_nothing_is_kept(
    happening: list[tuple[str, Any]], end: str
) -> None:
    cues = [
        cue for at in range(0, 60, 4) for cue in (started(at + 0.5), paused(at + 2.0), ended(at + 2.4, at + 2.0))
    ]
    daemon, limits = LiveDaemon(cues), Limits()
    budget = Budget(limits.max_buffered_seconds)
    session = Session(daemon, limits, budget)
    waiting: list[Submit] = []
    now = 0.0

    def do(actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Submit):
                waiting.append(action)
                do(session.job_queued(action.key, len(waiting)))

    def work() -> None:
        action = waiting.pop(0)
        live = action.options.live
        result = spoken(action.pcm, live.known) if live else Transcription("x", "en", 1.0, (), Timings(0, 0, 0))
        do(session.job_done(action.key, Outcome(result, 0.0, 0.1)))

    def receive(kind: str, data: dict[str, Any], payload: bytes = b"") -> None:
        session.receive_data(encode(Event(kind, data, payload)), now)
        while (actions := session.next_actions()) is not None:
            do(actions)

    def push(times: int) -> None:
        nonlocal now
        for _ in range(times):
            now += 0.1
            receive("audio-chunk", FORM, SECOND[:1600].tobytes())

    def wait(seconds: int) -> None:
        nonlocal now
        now += seconds

    deeds: dict[str, Callable[[int], object]] = {
        "hear": lambda times: [do(session.heard(SECOND[:8000], 0)) for _ in range(times)],
        "push": push,
        "wait": wait,
        "work": lambda _: waiting and work(),
        "refuse": lambda _: waiting and do(session.job_refused(waiting.pop(0).key, QueueFull("busy"))),
        "open": lambda _: do(session.microphone_opened()),
        "fail": lambda _: do(session.microphone_failed(NoMicrophone("gone"))),
        "lost": lambda _: do(session.microphone_lost("gone", 1.0) + session.microphone_restored()),
    }
    for what, how in happening:
        if isinstance(how, dict):
            receive(what, how)
        else:
            deeds[what](how)
    finish = {"lost": session.connection_lost, "eof": session.receive_eof, "shutdown": session.shutdown}
    do(finish[end]())
    while waiting:
        work()
    assert session.closed
    assert not session.busy
    assert budget.held_s == 0
