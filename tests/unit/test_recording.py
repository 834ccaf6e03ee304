"""Recordings of any length through the client, against the real server: what is sent, what is answered."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import whisperd.recording
from fake_daemon import FakeEngine, serve
from whisperd import protocol
from whisperd.audio.pieces import PROMPT_CHARS, join
from whisperd.client import Client, ClientError, ServerError, Transcript
from whisperd.client_connection import MAX_DATA_BYTES
from whisperd.config import Limits
from whisperd.errors import BadAudio, QueueFull
from whisperd.protocol import Outcome, Request
from whisperd.recording import TRIES, join_answers, transcribe_recording
from whisperd.speech.options import Options
from whisperd.speech.types import DOUBTFUL, NO_VOICE, Segment, Timings, Transcription, Word

RATE = 16_000


@dataclass
class Speaker(FakeEngine):
    """Answers with one of these for each clip, in turn."""

    answers: list[Transcription] = field(default_factory=list)

    def transcribe(self, pcm: Any, options: Options, control: Any) -> Transcription:
        super().transcribe(pcm, options, control)
        return self.answers[(len(self.heard) - 1) % len(self.answers)]


def said(text: str, seconds: float = 2.0, **other: Any) -> Transcription:
    words = tuple(Word(i * 0.1, i * 0.1 + 0.05, f" {w}", (1,), 0.5, 0.625) for i, w in enumerate(text.split()))
    heat = other.pop("temperature", 0.0)
    segments = (Segment(0.0, seconds, f" {text}", (1,), -0.25, 0.125, 1.5, heat, words),) if text else ()
    fields: dict[str, Any] = {"language": "en", "timings": Timings(1.0, 2.0, 3.0), "fallbacks": 1, **other}
    return Transcription(text, fields.pop("language"), seconds, segments, **fields)


@pytest.fixture
def speaker() -> Speaker:
    return Speaker(answers=[said("one"), said("two"), said("three"), said("four")])


@pytest.fixture
def client(tmp_path: Path, speaker: Speaker) -> Iterator[Client]:
    with serve(tmp_path / "s", speaker, Limits(max_clip_seconds=2.0)), Client(tmp_path / "s") as client:
        yield client


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, Any]:
    """6.5 s, which are four pieces of at most two seconds."""
    pcm = np.random.default_rng(3).integers(-8000, 8000, int(6.5 * RATE), np.int16)
    soundfile.write(tmp_path / "talk.flac", pcm, RATE)
    return tmp_path / "talk.flac", pcm


def test_all_of_it_is_sent_and_the_answers_are_one(
    client: Client, speaker: Speaker, recording: tuple[Path, Any]
) -> None:
    told: list[tuple[float, float | None]] = []
    answer = transcribe_recording(
        client,
        recording[0],
        options={"word_timestamps": True},
        on_progress=lambda done, seconds: told.append((done, seconds)),
    )
    heard = [pcm for pcm, _ in speaker.heard]
    assert np.array_equal(np.concatenate(heard), recording[1]) and max(map(len, heard)) <= 2 * RATE
    assert len(heard) == 4 and answer.text == "one two three four" and answer.audio_seconds == 8.0
    starts = [0.0, *np.cumsum([len(pcm) / RATE for pcm in heard])[:-1]]
    assert told == [(pytest.approx(start), 6.5) for start in starts]
    segments = answer.data["segments"]
    assert [s["start"] for s in segments] == pytest.approx(starts, abs=1e-3)
    assert [w["start"] for s in segments for w in s["words"]] == pytest.approx(starts, abs=1e-3)
    assert all(options.word_timestamps for _, options in speaker.heard)


def test_what_fits_is_one_request_and_its_answer(client: Client, speaker: Speaker, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.ones(RATE), RATE)
    answer = transcribe_recording(client, tmp_path / "short.wav")
    assert len(speaker.heard) == 1 and answer.text == "one" and "rtf" in answer.data


@pytest.mark.parametrize("multilingual", [False, True])
def test_the_first_detected_language_is_that_of_the_rest(
    client: Client, speaker: Speaker, recording: tuple[Path, Any], multilingual: bool
) -> None:
    speaker.answers = [
        said("", no_speech=NO_VOICE),
        said("zwei", language="de", languages=(("de", 0.75), ("en", 0.25))),
        said("three", language="en", languages=(("en", 1.0),)),
    ]
    answer = transcribe_recording(client, recording[0], options={"language": "auto", "multilingual": multilingual})
    languages = [options.language for _, options in speaker.heard]
    assert languages == (["auto"] * 4 if multilingual else ["auto", "auto", "de", "de"])
    assert (answer.language, answer.data["languages"]) == ("de", {"de": 0.75, "en": 0.25})


def test_a_language_that_was_not_detected_is_not_insisted_on(
    client: Client, speaker: Speaker, recording: tuple[Path, Any]
) -> None:
    transcribe_recording(client, recording[0])
    assert [options.language for _, options in speaker.heard] == [None] * 4


def test_prompts_of_the_pieces(client: Client, speaker: Speaker, recording: tuple[Path, Any]) -> None:
    transcribe_recording(client, recording[0], options={"prefix": "So", "initial_prompt": "Names: Zoë."})
    assert [options.prefix for _, options in speaker.heard] == ["So", None, None, None]
    assert [options.initial_prompt for _, options in speaker.heard] == ["Names: Zoë."] * 4
    speaker.heard.clear()
    speaker.answers = [said("a" * PROMPT_CHARS), said("hot", temperature=0.6), said("three"), said("four")]
    transcribe_recording(
        client, recording[0], options={"condition_on_previous_text": True, "initial_prompt": "first"}
    )
    assert [options.initial_prompt for _, options in speaker.heard] == [
        "first",
        "a" * PROMPT_CHARS,
        "first",
        ("a" * PROMPT_CHARS + " hot three")[-PROMPT_CHARS:],
    ]
    speaker.heard.clear()
    carried = {"condition_on_previous_text": True, "initial_prompt": "first", "carry_initial_prompt": True}
    transcribe_recording(client, recording[0], options=carried)
    assert [options.initial_prompt for _, options in speaker.heard] == ["first"] * 4


def test_stretches_are_those_of_the_recording(
    client: Client, speaker: Speaker, recording: tuple[Path, Any]
) -> None:
    answer = transcribe_recording(client, recording[0], options={"clip_timestamps": [0.5, 1.0, 5.0]})
    ends = np.cumsum([0, *map(len, (pcm for pcm, _ in speaker.heard))]) / RATE
    assert speaker.heard[0][1].clip_timestamps == (0.5, 1.0)
    assert len(speaker.heard) == 3, "of the second piece nothing is meant"
    (third,), (fourth,) = (options.clip_timestamps for _, options in speaker.heard[1:])
    starts = [segment["start"] for segment in answer.data["segments"]]
    assert third == pytest.approx(5.0 - starts[1], abs=1e-3) and fourth == 0.0
    assert starts[2] == pytest.approx(starts[1] + ends[2] - ends[1], abs=1e-3)


@pytest.mark.parametrize("times", [["a"], "0,1", [0.5, None], {"a": 1}, -1, [2, 1]])
def test_times_that_are_none_are_for_the_daemon_to_refuse(
    client: Client, recording: tuple[Path, Any], times: Any
) -> None:
    with pytest.raises(ServerError, match="clip_timestamps"):
        transcribe_recording(client, recording[0], options={"clip_timestamps": times})


def test_a_long_recording_has_times_whichever_of_its_pieces_is_meant(
    client: Client, speaker: Speaker, recording: tuple[Path, Any]
) -> None:
    for told in ([5.0], 5):
        speaker.heard.clear()
        transcribe_recording(client, recording[0], options={"clip_timestamps": told})
        assert {options.without_timestamps for _, options in speaker.heard} == {False}
        assert len(speaker.heard) == 2 and speaker.heard[1][1].clip_timestamps == (0.0,)


def test_no_part_of_a_recording(client: Client, speaker: Speaker, recording: tuple[Path, Any]) -> None:
    answer = transcribe_recording(client, recording[0], options={"clip_timestamps": [10.0]})
    assert (answer.text, answer.audio_seconds, answer.data["segments"]) == ("", 0.0, [])
    assert speaker.heard == []


def test_later_pieces_have_times_even_if_they_are_short(
    client: Client, speaker: Speaker, recording: tuple[Path, Any]
) -> None:
    transcribe_recording(client, recording[0])
    transcribe_recording(client, recording[0], options={"without_timestamps": True})
    asked = [options.without_timestamps for _, options in speaker.heard]
    assert asked == [None, False, False, False, True, True, True, True]


def test_an_error_in_the_middle_is_that_of_the_recording(client: Client, speaker: Speaker, tmp_path: Path) -> None:
    samples = np.zeros(int(20 * RATE))
    samples[15 * RATE] = np.nan
    soundfile.write(tmp_path / "broken.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(BadAudio, match=r"broken\.wav: sample 240000 \(at 15\.000 s\)"):
        transcribe_recording(client, tmp_path / "broken.wav")
    assert speaker.heard, "what was before was sent already"


@dataclass
class Refusing(Speaker):
    """Refuses some of its clips, by number from 0, as if the queue were full."""

    refused: set[int] = field(default_factory=set)
    asked: int = 0

    def check(self, options: Options) -> None:
        super().check(options)
        self.asked += 1
        if self.asked - 1 in self.refused:
            raise QueueFull("too many are waiting")


@pytest.mark.parametrize(("refused", "works"), [({1, 2, 5}, True), ({0}, False), (set(range(1, 9)), False)])
def test_a_refusal_for_now_does_not_cost_what_was_answered(
    tmp_path: Path,
    recording: tuple[Path, Any],
    monkeypatch: pytest.MonkeyPatch,
    refused: set[int],
    works: bool,
) -> None:
    monkeypatch.setattr(whisperd.recording, "RETRY_SECONDS", 0.01)
    engine = Refusing(answers=[said("one"), said("two"), said("three"), said("four")], refused=refused)
    with serve(tmp_path / "s", engine, Limits(max_clip_seconds=2.0)), Client(tmp_path / "s") as client:
        if works:
            assert transcribe_recording(client, recording[0]).text == "one two three four"
            assert len(engine.heard) == 4
        else:
            with pytest.raises(ServerError, match="too many are waiting"):
                transcribe_recording(client, recording[0])
            assert engine.asked == (1 if 0 in refused else 1 + TRIES)


def answer_of(result: Transcription, *, words: bool) -> Transcript:
    """As it comes over the wire: to the client's eyes, see `Client.result`."""
    request = Request(options=Options(word_timestamps=words))
    event = protocol.answer_to_clip(Outcome(result, 0.25, 0.5), result, request)
    data = dict(event.data)
    if event.type == "no-speech":
        data = {"text": "", "language": None, **data, "no_speech": data.pop("reason")}
    return Transcript(data["text"], data["language"], data["audio_seconds"], data)


@pytest.mark.parametrize("words", [False, True])
def test_answers_are_joined_as_transcriptions_are(words: bool) -> None:
    parts = [
        (0.0, said("", 20.0, no_speech=DOUBTFUL)),
        (20.0, said("Hallo du", 30.0, confidence=0.875, language="de", languages=(("de", 0.75),))),
        (50.0, said("Welt", 10.0, confidence=0.5, language="de")),
    ]
    joined = join_answers([(at, answer_of(part, words=words)) for at, part in parts])
    expected = answer_of(join(parts), words=words)
    times = {"features_ms", "encode_ms", "decode_ms", "fallbacks", "rtf", "queue_ms"}
    assert {k: v for k, v in joined.data.items() if k not in times} == {
        k: v for k, v in expected.data.items() if k not in times
    }
    assert (joined.text, joined.language, joined.audio_seconds) == ("Hallo du Welt", "de", 60.0)
    # Of a piece without speech there are no times.
    assert (joined.data["decode_ms"], joined.data["fallbacks"], joined.data["queue_ms"]) == (6.0, 2, 500.0)
    assert joined.data["rtf"] == pytest.approx((0.5 / 30 * 30 + 0.5 / 10 * 10) / 40, abs=1e-3)


def test_no_piece_with_speech() -> None:
    parts = [(0.0, said("", no_speech=NO_VOICE)), (2.0, said("", no_speech=DOUBTFUL))]
    joined = join_answers([(at, answer_of(part, words=False)) for at, part in parts])
    assert (joined.text, joined.language, joined.data["no_speech"]) == ("", None, DOUBTFUL)


# --- how large an answer may be ---------------------------------------------------------------------------


def test_ten_minutes_of_the_most_words_that_there_can_be(tmp_path: Path) -> None:
    """20 windows of 448 tokens, each a word of letters of three bytes: the daemon says it, the client takes it."""
    words = tuple(Word(i / 15, i / 15 + 0.05, "가나다", (i,), 0.123, 0.456) for i in range(20 * 448))
    segment = Segment(0.0, 600.0, "가나다" * len(words), (1,), -0.25, 0.0, words=words)
    engine = Speaker(answers=[Transcription(segment.text, "ko", 600.0, (segment,), Timings(1, 2, 3))])
    pcm = np.zeros(600 * RATE, np.int16)
    with serve(tmp_path / "s", engine), Client(tmp_path / "s") as client:
        answer = client.transcribe(pcm, options={"word_timestamps": True})
        assert client.status()["state"] == "idle"
    (found,) = answer.data["segments"]
    assert len(found["words"]) == len(words) and found["words"][-1]["word"] == "가나다"
    assert 800_000 < len(str(answer.data)) < MAX_DATA_BYTES


def test_options_that_are_more_than_an_event_holds_are_refused_here(tmp_path: Path, speaker: Speaker) -> None:
    with serve(tmp_path / "s", speaker), Client(tmp_path / "s") as client:
        many = {"hotwords": ["国" * 100] * 100}
        with pytest.raises(ClientError, match=r"the options are 3\d{4} bytes, whisperd takes 16384 at once"):
            client.transcribe(np.zeros(10, np.int16), options=many)
        assert client.transcribe(np.zeros(10, np.int16), options={"hotwords": ["国" * 100] * 50}).text == "one"


def test_requests_are_not_described_by_options(tmp_path: Path) -> None:
    client = Client(tmp_path / "s")
    for wrong in ("id", "live", "mode", "name", "priority", "vad_sensitivity"):
        with pytest.raises(ValueError, match=f"{wrong}: no option"):
            client.submit(np.zeros(10, np.int16), options={wrong: "x"})


def test_a_null_is_sent(tmp_path: Path, speaker: Speaker) -> None:
    with serve(tmp_path / "s", speaker), Client(tmp_path / "s") as client:
        client.transcribe(np.zeros(10, np.int16), options={"log_prob_threshold": None, "temperature": [0.0]})
    ((_, options),) = speaker.heard
    assert options.log_prob_threshold is None and options.temperature == (0.0,)
    assert options.compression_ratio_threshold == Options().compression_ratio_threshold


def test_a_pipe(client: Client, speaker: Speaker, recording: tuple[Path, Any]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(recording[0].read_bytes()[: 1 << 16])
        theirs.shutdown(socket.SHUT_WR)
        with ours.makefile("rb") as stream, pytest.raises(BadAudio):
            transcribe_recording(client, stream)  # half of it: told, and not taken for the whole
    with open(recording[0], "rb") as stream:
        assert transcribe_recording(client, stream).text.endswith("four")
