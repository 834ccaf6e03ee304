"""The official client of OpenAI's API, unmodified, pointed at the Unix socket."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from http_daemon import WAIT_SECONDS, Running, TalkingEngine, serve, wav
from openai import OpenAI
from whisperd.config import HttpConfig, Limits
from whisperd.speech.options import Options
from whisperd.speech.types import Control, Int16Samples, Transcription

TEXT = "Hello there. General Kenobi."


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with serve(tmp_path / "s", TalkingEngine()) as server:
        yield server


@pytest.fixture
def client(running: Running) -> Iterator[OpenAI]:
    http = httpx.Client(transport=httpx.HTTPTransport(uds=str(running.path)), timeout=WAIT_SECONDS)
    with OpenAI(base_url="http://localhost/v1", api_key="none", http_client=http, max_retries=0) as client:
        yield client


def file(seconds: float = 2.0) -> tuple[str, bytes]:
    return "speech.wav", wav(seconds)


def test_json(client: OpenAI, running: Running) -> None:
    found = client.audio.transcriptions.create(
        model="whisper-1", file=file(), language="de", prompt="Obi-Wan", temperature=0.4
    )
    assert found.text == TEXT
    [(pcm, options)] = running.engine.heard
    assert len(pcm) == 32_000
    assert options == Options(language="de", initial_prompt="Obi-Wan", temperature=(0.4,))


def test_the_models_own_name_and_an_open_file(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav())
    with path.open("rb") as opened:
        assert client.audio.transcriptions.create(model="fake", file=opened).text == TEXT


def test_verbose_json_with_segments_and_words(client: OpenAI) -> None:
    found = client.audio.transcriptions.create(
        model="whisper-1",
        file=file(),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert (found.text, found.duration, found.language) == (TEXT, 2.0, "en")
    assert found.segments is not None
    assert [(s.id, s.start, s.end, s.text) for s in found.segments] == [
        (0, 0.0, 1.0, " Hello there."),
        (1, 1.0, 2.0, " General Kenobi."),
    ]
    assert found.segments[1].tokens == [2, 3]
    assert found.words is not None
    assert [(w.word, w.start, w.end) for w in found.words][:2] == [("Hello", 0.0, 0.5), ("there.", 0.5, 1.0)]


def test_segments_alone_where_no_words_were_asked_for(client: OpenAI) -> None:
    found = client.audio.transcriptions.create(model="whisper-1", file=file(), response_format="verbose_json")
    assert found.segments and found.words is None


def test_text_and_subtitles(client: OpenAI) -> None:
    def written(kind: str) -> str:
        found = client.audio.transcriptions.create(
            model="whisper-1",
            file=file(),
            response_format=kind,  # type: ignore[call-overload]
        )
        assert isinstance(found, str)
        return found

    assert written("text") == f"{TEXT}\n"
    assert written("srt").startswith("1\n00:00:00,000 --> 00:00:01,000\nHello there.\n\n2\n")
    assert written("vtt").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nHello there.\n")


def test_stream(client: OpenAI, running: Running) -> None:
    events = list(client.audio.transcriptions.create(model="whisper-1", file=file(70.0), stream=True))
    kinds = [event.type for event in events]
    assert kinds == [*["transcript.text.delta"] * (len(events) - 1), "transcript.text.done"]
    assert len(events) >= 4
    told = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert told == getattr(events[-1], "text", None) == " ".join([TEXT] * (len(events) - 1))
    assert all(len(pcm) <= 30 * 16_000 for pcm, _ in running.engine.heard)


class OneAtATime(TalkingEngine):
    """Waits to be let go before each piece but the first."""

    def transcribe(self, pcm: Int16Samples, options: Options, control: Control) -> Transcription:
        found = super().transcribe(pcm, options, control)
        self.hold.clear()
        return found


def test_a_stream_tells_each_piece_before_the_next_is_done(tmp_path: Path) -> None:
    engine = OneAtATime()
    with serve(tmp_path / "s", engine) as running:
        http = httpx.Client(transport=httpx.HTTPTransport(uds=str(running.path)), timeout=WAIT_SECONDS)
        with OpenAI(base_url="http://localhost/v1", api_key="none", http_client=http, max_retries=0) as client:
            stream = client.audio.transcriptions.create(model="whisper-1", file=file(50.0), stream=True)
            kinds = []
            for event in stream:
                kinds.append(event.type)
                if len(kinds) == 1:
                    assert len(engine.heard) <= 2  # and the second is not done
                    assert not engine.hold.is_set()
                engine.hold.set()
    assert kinds == ["transcript.text.delta", "transcript.text.delta", "transcript.text.done"]


def test_a_stream_that_fails_at_once_is_an_ordinary_error(client: OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="cannot be decoded"):
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"), stream=True)


def test_a_stream_that_fails_later_says_so(client: OpenAI) -> None:
    cut = io.BytesIO(wav(70.0))
    import soundfile

    samples, rate = soundfile.read(cut)
    flac = io.BytesIO()
    soundfile.write(flac, samples, rate, format="FLAC")
    with pytest.raises(openai.APIError, match="cut short|cannot be decoded"):
        list(
            client.audio.transcriptions.create(
                model="whisper-1", file=("a.flac", flac.getvalue()[: -len(flac.getvalue()) // 4]), stream=True
            )
        )


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # whisper-1 has no successor for this
def test_translation(client: OpenAI, running: Running) -> None:
    found = client.audio.translations.create(model="whisper-1", file=file())
    assert found.text == TEXT
    assert running.engine.heard[0][1].task == "translate"
    verbose = client.audio.translations.create(model="whisper-1", file=file(), response_format="verbose_json")
    assert verbose.duration == 2.0


def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fake", "whisper-1"]
    assert client.models.retrieve("fake").owned_by == "whisperd"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4o-transcribe")
    assert caught.value.code == "model_not_found"


def test_further_options_of_the_daemon(client: OpenAI, running: Running) -> None:
    client.audio.transcriptions.create(
        model="whisper-1", file=file(), extra_body={"beam_size": 3, "hotwords": "Kenobi, Grievous"}
    )
    assert running.engine.heard[0][1] == Options(beam_size=3, hotwords=("Kenobi", "Grievous"))


def test_errors_are_the_ones_that_its_programs_know(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.audio.transcriptions.create(model="whisper-large", file=file())
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as language:
        client.audio.transcriptions.create(model="whisper-1", file=file(), language="xx")
    assert (language.value.code, language.value.param) == ("unknown-language", "language")
    with pytest.raises(openai.BadRequestError, match="unknown field 'langauge'"):
        client.audio.transcriptions.create(model="whisper-1", file=file(), extra_body={"langauge": "de"})
    with pytest.raises(openai.UnprocessableEntityError, match="is empty"):
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b""))


def test_a_busy_daemon_is_tried_again(tmp_path: Path) -> None:
    engine = TalkingEngine()
    limits = Limits(max_clip_seconds=2.0, max_buffered_seconds=2.0)
    with serve(tmp_path / "s", engine, limits) as running:
        asked: list[int] = []
        http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(running.path)),
            event_hooks={"response": [lambda response: asked.append(response.status_code)]},
        )
        with (
            OpenAI(base_url="http://localhost/v1", api_key="none", http_client=http, max_retries=1) as client,
            pytest.raises(openai.InternalServerError) as caught,
        ):
            client.audio.transcriptions.create(model="whisper-1", file=file(2.0))
        assert (asked, caught.value.code) == ([503, 503], "queue-full")


def test_the_api_key_is_the_token(tmp_path: Path) -> None:
    token = "a-token-of-enough-letters"
    with serve(tmp_path / "s", settings=HttpConfig(), tcp=True, token=token) as running:
        for key in (token, "wrong"):
            with OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0) as client:
                if key == token:
                    assert client.audio.transcriptions.create(model="whisper-1", file=file()).text == TEXT
                else:
                    with pytest.raises(openai.AuthenticationError):
                        client.models.list()
