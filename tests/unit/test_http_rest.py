"""The REST endpoints over a Unix socket, with the real server and an engine that hears what it is told to."""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from http_daemon import WAIT_SECONDS, Running, TalkingEngine, serve, wav
from prometheus_client.parser import text_string_to_metric_families
from whisperd import __version__
from whisperd.config import HttpConfig, Limits
from whisperd.http import prepare

UPLOAD_LIMIT = 1 << 20


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = HttpConfig(max_upload_bytes=UPLOAD_LIMIT, max_files=3)
    limits = Limits(max_clip_seconds=5.0)
    with serve(tmp_path_factory.mktemp("http") / "s", TalkingEngine(), limits, settings) as server:
        yield server


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    running.engine.text = "Hello there. General Kenobi."
    running.engine.heard.clear()
    with running.client() as client:
        yield client


def problem(answer: httpx.Response, status: int, code: str, field: str = "") -> dict[str, Any]:
    """The body of a refusal, after all that every refusal has."""
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body.get("field", "") == field, body
    assert {"type", "title", "detail", "retry"} <= set(body)
    return body


def files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("audio_file", (f"{number}.wav", content)) for number, content in enumerate(contents)]


# --- what there is to be read -----------------------------------------------------------------------------------


def test_greeting(client: httpx.Client) -> None:
    assert client.get("/").json() == {"name": "whisperd", "version": __version__, "openapi": "/openapi.json"}


def test_health_status_and_model(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok", "state": "idle", "model": "fake"}
    assert client.get("/status").json()["connections"] == 1
    info = client.get("/model/info").json()
    assert (info["name"], info["allowed_languages"], info["max_clip_seconds"]) == ("fake", ["en", "de"], 5.0)
    assert client.get("/openapi.json").json()["openapi"] == "3.0.3"


def test_metrics_count_what_was_done(client: httpx.Client) -> None:
    def count(name: str, **labels: str) -> float:
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = [s for family in families for s in family.samples if s.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    before = count("whisperd_requests_total", outcome="transcribed")
    refused = count("whisperd_requests_total", outcome="bad-audio")
    client.post("/transcribe", files=files(wav()))
    client.post("/transcribe", files=files(b"?"))
    assert count("whisperd_requests_total", outcome="transcribed") == before + 1
    assert count("whisperd_requests_total", outcome="bad-audio") == refused + 1
    assert count("whisperd_http_responses_total", path="/transcribe", status="422") >= 1
    assert count("whisperd_resident_bytes") > 10_000_000
    assert client.get("/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_paths_and_methods_that_are_not(client: httpx.Client) -> None:
    problem(client.get("/nowhere"), 404, "not-found")
    problem(client.get("/%ff%00"), 404, "not-found")
    refused = client.get("/transcribe")
    problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == "POST"
    problem(client.delete("/health"), 405, "method-not-allowed")
    problem(client.options("/health"), 405, "method-not-allowed")
    problem(client.get("/stream"), 400, "bad-field", "Upgrade")


# --- one recording ----------------------------------------------------------------------------------------------


def test_a_recording(client: httpx.Client, running: Running) -> None:
    before = running.server.status()["requests"]
    answer = client.post("/transcribe", files=files(wav(1.5)), data={"language": "de", "task": "translate"})
    body = answer.json()
    assert (answer.status_code, body["text"], body["language"]) == (200, "Hello there. General Kenobi.", "de")
    assert body["duration"] == 1.5
    assert [segment["end"] for segment in body["segments"]] == [0.75, 1.5]
    assert "words" not in body["segments"][0]
    assert body["rtf"] == pytest.approx(body["inference_time"] / 1.5, abs=0.001)
    assert body["total_time"] >= body["inference_time"] >= 0
    age = datetime.now(timezone.utc) - datetime.fromisoformat(body["timestamp"].replace("Z", "+00:00"))
    assert 0 <= age.total_seconds() < 60
    [(pcm, options)] = running.engine.heard
    assert (len(pcm), options.language, options.task) == (24_000, "de", "translate")
    assert running.server.status()["requests"] == before + 1


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "AIFF"])
def test_any_format_rate_and_number_of_channels(client: httpx.Client, running: Running, kind: str) -> None:
    file = io.BytesIO()
    samples = np.random.default_rng(1).uniform(-0.1, 0.1, (44_100, 2))
    soundfile.write(file, samples, 44_100, format=kind)
    body = client.post("/transcribe", files=files(file.getvalue())).json()
    assert body["duration"] == pytest.approx(1.0, abs=0.01)
    assert len(running.engine.heard[0][0]) == pytest.approx(16_000, abs=200)


def test_a_field_without_a_filename_is_a_file_too(client: httpx.Client) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="audio_file"\r\n\r\n' + wav() + b"\r\n--B--\r\n"
    head = {"Content-Type": "multipart/form-data; boundary=B"}
    assert client.post("/transcribe", content=body, headers=head).json()["duration"] == 1.0


def test_a_body_without_a_length(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        body = b'--B\r\nContent-Disposition: form-data; name="audio_file"\r\n\r\n' + wav() + b"\r\n--B--\r\n"
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    head = {"Content-Type": "multipart/form-data; boundary=B"}
    assert client.post("/transcribe", content=chunks(), headers=head).json()["duration"] == 1.0


def test_base64(client: httpx.Client, running: Running) -> None:
    content = base64.b64encode(wav()).decode()
    told = {"audio_base64": content, "language": "de", "task": "transcribe", "word_timestamps": True}
    body = client.post("/transcribe/base64", json=told).json()
    assert (body["text"], body["language"], body["duration"]) == ("Hello there. General Kenobi.", "de", 1.0)
    assert body["segments"][0]["words"][0]["word"] == " Hello"
    assert np.array_equal(running.engine.heard[0][0], soundfile.read(io.BytesIO(wav()), dtype="int16")[0])


def test_nobody_speaks(client: httpx.Client, running: Running) -> None:
    running.engine.text = ""
    body = client.post("/transcribe", files=files(wav())).json()
    assert (body["text"], body["no_speech"], body["segments"], body["confidence"]) == ("", "no-voice", [], 0.0)


def test_languages_are_told_where_they_were_detected(client: httpx.Client) -> None:
    body = client.post("/transcribe", files=files(wav()), data={"language": "auto"}).json()
    assert body["languages"] == {"en": 0.75, "de": 0.25}


def test_words_that_are_not_ascii(client: httpx.Client, running: Running) -> None:
    running.engine.text = "Grüße 你好"
    answer = client.post("/transcribe", files=files(wav()), data={"initial_prompt": "Größe"})
    assert answer.json()["text"] == "Grüße 你好"
    assert running.engine.heard[0][1].initial_prompt == "Größe"


def test_normalize_raises_what_is_quiet(client: httpx.Client, running: Running) -> None:
    for told, peak in (({}, 100), ({"normalize": "true"}, 3160)):
        running.engine.heard.clear()
        client.post("/transcribe", files=files(wav(amplitude=100)), data=told)
        assert np.abs(running.engine.heard[0][0]).max() == pytest.approx(peak, abs=60)
    client.post("/transcribe", files=files(wav(amplitude=3000)), data={"normalize": "true"})
    assert np.abs(running.engine.heard[-1][0]).max() == pytest.approx(prepare.PEAK, abs=20)


def test_trim_silence_leaves_the_voice_and_the_times(client: httpx.Client, running: Running) -> None:
    noise = np.random.default_rng(1).normal(0, 2, 5 * 16_000)
    voice = noise.copy()
    voice[2 * 16_000 : 3 * 16_000] += 8000 * np.sin(np.arange(16_000) * 0.3)
    file = io.BytesIO()
    soundfile.write(file, voice.astype(np.int16), 16_000, format="WAV")
    body = client.post("/transcribe", files=files(file.getvalue()), data={"trim_silence": "true"}).json()
    heard = len(running.engine.heard[0][0]) / 16_000
    assert 1.0 <= heard < 3.0
    assert body["duration"] == 5.0
    assert 1.0 < body["segments"][0]["start"] <= 2.0
    assert 3.0 <= body["segments"][-1]["end"] < 4.5
    # Where nobody speaks it is the engine's to say so.
    file = io.BytesIO()
    soundfile.write(file, noise.astype(np.int16), 16_000, format="WAV")
    client.post("/transcribe", files=files(file.getvalue()), data={"trim_silence": "true"})
    assert len(running.engine.heard[1][0]) == 5 * 16_000


def test_what_is_longer_than_a_clip_is_transcribed_in_pieces(client: httpx.Client, running: Running) -> None:
    body = client.post("/transcribe", files=files(wav(13.0, rate=8000)), data={"word_timestamps": "1"}).json()
    pieces = [len(pcm) for pcm, _ in running.engine.heard]
    assert len(pieces) >= 3
    assert max(pieces) <= 5 * 16_000
    assert sum(pieces) == 13 * 16_000
    assert body["duration"] == 13.0
    assert body["text"] == " ".join(["Hello there. General Kenobi."] * len(pieces))
    starts = [segment["start"] for segment in body["segments"]]
    assert starts == sorted(starts)
    assert body["segments"][-1]["end"] == 13.0
    assert body["segments"][-1]["words"][-1]["end"] == 13.0


def test_parts_of_a_recording_are_those_of_its_pieces(client: httpx.Client, running: Running) -> None:
    told = {"clip_timestamps": "1,2,11.5", "prefix": "So"}
    body = client.post("/transcribe", files=files(wav(13.0)), data=told).json()
    heard = [(options.clip_timestamps, options.prefix) for _, options in running.engine.heard]
    assert heard[0] == ((1.0, 2.0), "So")
    [begin], prefix = heard[-1]
    assert len(running.engine.heard[-1][0]) / 16_000 - begin == pytest.approx(1.5, abs=0.001)
    assert prefix is None
    assert len(heard) == 2  # of three or more pieces: nothing is wanted of those between
    assert body["duration"] == 13.0
    body = client.post("/transcribe", files=files(wav(1.0)), data={"clip_timestamps": "5"}).json()
    assert (body["text"], body["no_speech"], body["duration"]) == ("", "silence", 1.0)


def test_request_ids_come_back(client: httpx.Client) -> None:
    assert client.get("/health", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for odd in ("a b", "x" * 65, ""):
        found = client.get("/health", headers={"X-Request-Id": odd}).headers["x-request-id"]
        assert found.startswith("http-")
    assert client.get("/nowhere", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"


# --- several ----------------------------------------------------------------------------------------------------


def test_several_recordings_one_of_them_bad(client: httpx.Client) -> None:
    answer = client.post("/transcribe", files=files(wav(1.0), b"no audio", wav(2.0)))
    body = answer.json()
    assert answer.status_code == 200
    assert [result["filename"] for result in body["results"]] == ["0.wav", "1.wav", "2.wav"]
    assert [result.get("duration") for result in body["results"]] == [1.0, None, 2.0]
    assert body["results"][1]["problem"]["code"] == "bad-audio"
    assert "audio_file (1.wav) cannot be decoded" in body["results"][1]["problem"]["detail"]


def test_too_many_recordings(client: httpx.Client) -> None:
    problem(client.post("/transcribe", files=files(*[wav(0.1)] * 4)), 400, "bad-field", "audio_file")


# --- what is refused --------------------------------------------------------------------------------------------


def float_wav(*samples: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.array(samples, np.float32), 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "status", "code", "says"),
    [
        (b"", 422, "bad-audio", "audio_file (0.wav) is empty"),
        (b"RIFF", 422, "bad-audio", "audio_file (0.wav) cannot be decoded"),
        (b"\0" * 10_000, 422, "bad-audio", "cannot be decoded"),
        (wav()[:-1000], 422, "bad-audio", "audio_file (0.wav) is cut short"),
        (wav(0.0), 422, "bad-audio", "audio_file (0.wav) has no samples"),
        (float_wav(0.1, float("nan")), 422, "bad-audio", "sample 1 (at 0.000 s) is not a finite number"),
        (float_wav(0.1, float("inf")), 422, "bad-audio", "is not a finite number"),
        (wav(rate=2000), 422, "bad-format", "audio_file (0.wav): a rate of 2000 Hz"),
        (wav(channels=9), 422, "bad-format", "audio_file (0.wav): 9 channels"),
    ],
)
def test_bad_audio(client: httpx.Client, content: bytes, status: int, code: str, says: str) -> None:
    body = problem(client.post("/transcribe", files=files(content)), status, code, "audio_file")
    assert says in body["detail"]
    assert "/proc/" not in body["detail"]


def test_bad_audio_in_base64_and_of_openai(client: httpx.Client) -> None:
    told = {"audio_base64": base64.b64encode(b"RIFF").decode()}
    body = problem(client.post("/transcribe/base64", json=told), 422, "bad-audio", "audio_base64")
    assert body["detail"].startswith("audio_base64 cannot be decoded")
    answer = client.post("/v1/audio/transcriptions", files={"file": ("a.wav", b"RIFF")})
    assert problem(answer, 422, "bad-audio", "file")["error"]["param"] == "file"


@pytest.mark.parametrize(
    ("told", "code", "field"),
    [
        ({"language": "xx"}, "unknown-language", "language"),
        ({"task": "sing"}, "unknown-task", "task"),
        ({"beam_size": "0"}, "bad-option", "beam_size"),
        ({"langauge": "de"}, "unknown-field", "langauge"),
        ({"language": "en" * 40_000}, "bad-field", "language"),
        ({"language": ["en", "de"]}, "bad-field", "language"),
        ({"": "x"}, "bad-body", ""),
    ],
)
def test_bad_fields(client: httpx.Client, told: Any, code: str, field: str) -> None:
    problem(client.post("/transcribe", files=files(wav()), data=told), 400, code, field)


def test_files_in_the_wrong_place(client: httpx.Client) -> None:
    problem(client.post("/transcribe", data={"language": "en"}, files={"x": b""}), 400, "bad-field", "x")
    empty = client.post(
        "/transcribe", content=b"--B--\r\n", headers={"Content-Type": "multipart/form-data; boundary=B"}
    )
    problem(empty, 400, "missing-field", "audio_file")
    answer = client.post("/v1/audio/transcriptions", files=[("file", ("a", wav())), ("file", ("b", wav()))])
    problem(answer, 400, "bad-field", "file")


@pytest.mark.parametrize("path", ["/transcribe", "/transcribe/base64", "/v1/audio/transcriptions"])
@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/mixed; boundary=x"]
)
def test_wrong_content_types(client: httpx.Client, path: str, kind: str) -> None:
    answer = client.post(path, content=b"x", headers={"Content-Type": kind} if kind else {})
    problem(answer, 415, "bad-content-type", "Content-Type")


def test_compressed_bodies_are_not_unpacked(client: httpx.Client) -> None:
    head = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    problem(
        client.post("/transcribe/base64", content=b"x", headers=head), 415, "bad-content-type", "Content-Encoding"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "before its first boundary"),
        (b"--B\r\n\r\n\r\n--B--", "has no Content-Disposition"),
        (b'--B\r\nContent-Disposition: form-data; name="audio_file"\r\n\r\nRIFF', "ends in part 1"),
    ],
)
def test_bad_multipart(client: httpx.Client, content: bytes, says: str) -> None:
    answer = client.post(
        "/transcribe", content=content, headers={"Content-Type": "multipart/form-data; boundary=B"}
    )
    assert says in problem(answer, 400, "bad-body")["detail"]


@pytest.mark.parametrize(
    ("content", "code", "field"),
    [
        (b"", "bad-body", ""),
        (b"[]", "bad-body", ""),
        (b"{}", "missing-field", "audio_base64"),
        (b'{"audio_base64": "%%%%"}', "bad-field", "audio_base64"),
        (b'{"audio_base64": "QQ=="', "bad-body", ""),
        (b'{"audio_base64": "QQ==", "beam_size": "3"}', "bad-option", "beam_size"),
        (b'{"audio_base64": "QQ==", "x": 3}', "unknown-field", "x"),
        (b'{"audio_base64": "QQ==", "initial_prompt": "\xff"}', "bad-body", ""),
        (b'{"audio_base64": "QQ==", "initial_prompt": "\\ud800"}', "bad-body", ""),
        (b"\xef\xbb\xbf{}", "bad-body", ""),
    ],
)
def test_bad_json(client: httpx.Client, content: bytes, code: str, field: str) -> None:
    answer = client.post("/transcribe/base64", content=content, headers={"Content-Type": "application/json"})
    problem(answer, 400, code, field)


def test_the_upload_limit_is_exact_and_told_with_and_without_a_length(client: httpx.Client) -> None:
    head = {"Content-Type": "application/json"}

    def body(size: int) -> bytes:
        return b'{"audio_base64": "' + b"A" * (size - 20) + b'"}'

    def chunked(content: bytes) -> Iterator[bytes]:
        for start in range(0, len(content), 4096):
            yield content[start : start + 4096]

    assert len(body(UPLOAD_LIMIT)) == UPLOAD_LIMIT
    for size, status, code, field in (
        (UPLOAD_LIMIT, 422, "bad-audio", "audio_base64"),  # read as a whole, and what is in it is no audio
        (UPLOAD_LIMIT + 4, 413, "body-too-large", ""),
    ):
        whole = client.post("/transcribe/base64", content=body(size), headers=head)
        problem(whole, status, code, field)
        pieces = client.post("/transcribe/base64", content=chunked(body(size)), headers=head)
        problem(pieces, status, code, field)
    assert str(UPLOAD_LIMIT) in pieces.json()["detail"]


def links() -> list[str]:
    """What the descriptors of this process are."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # of reading the folder, and of threads at work
            found.append(os.readlink(link))
    return found


def test_nothing_of_all_this_is_left_behind(client: httpx.Client, running: Running) -> None:
    """Runs last: after every refusal above, no memory is held and no connection hangs."""
    client.post("/transcribe", files=files(wav()))
    status = running.server.status()
    assert (status["buffered_seconds"], status["queue"], status["connections"]) == (0.0, 0, 1)
    until = time.monotonic() + WAIT_SECONDS
    while held := [link for link in links() if "memfd:upload" in link]:
        assert time.monotonic() < until, held  # the decoder's thread closes them
        time.sleep(0.01)
