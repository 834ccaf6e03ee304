"""Fields by name, problems by code, metrics by a stranger's parser, and the document: all without a server."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_daemon import FakeEngine
from prometheus_client.parser import text_string_to_metric_families
from whisperd import errors
from whisperd.actions import Report
from whisperd.config import Limits
from whisperd.errors import BadAudio, BadOption, QueueFull, UnknownLanguage, UnknownModel, WhisperdError
from whisperd.http import answers, fields, openapi, prepare, problems, schemas
from whisperd.http.answers import Answer
from whisperd.http.fields import OPENAI_CHOICES, read_form, read_json, read_openai
from whisperd.http.metrics import Metrics
from whisperd.http.problems import BadField, HttpError, MissingField, UnknownField
from whisperd.http.work import options_of_piece
from whisperd.protocol import Outcome, Priority
from whisperd.scheduler import Progress
from whisperd.speech.options import CHOICES, Options
from whisperd.speech.types import Segment, Timings, Transcription, Word

MODEL = FakeEngine.info
WORD = Word(0.5, 1.0, " Hi", (7,), 0.9, 0.8)
RESULT = Transcription(
    "Hi", "en", 1.5, (Segment(0.5, 1.0, " Hi", (7,), -0.2, 0.01, words=(WORD,)),), Timings(1, 2, 3), confidence=0.8
)
ANSWER = Answer(RESULT, run_s=0.3, total_s=0.5, audio_s=2.0)


# --- fields ---------------------------------------------------------------------------------------------------


def test_nothing_is_the_defaults() -> None:
    assert read_form([]) == fields.Wanted() == read_json({})
    assert read_form([]).options == Options()


def test_every_choice_is_a_field_and_a_member() -> None:
    for name, choice in CHOICES.items():
        text = choice.default
        text = ",".join(map(str, text)) if isinstance(text, tuple) else "" if text is None else str(text).lower()
        if name in ("task", "prepend_punctuations", "append_punctuations"):
            text = choice.default
        value = list(choice.default) if isinstance(choice.default, tuple) else choice.default
        assert read_form([(name, text)]).options == Options(), name
        assert read_json({name: value}).options == Options(), name


def test_values_arrive() -> None:
    told = [("language", "de-AT"), ("beam_size", "3"), ("hotwords", "Graz, Linz"), ("trim_silence", "yes")]
    wanted = read_form([*told, ("normalize", "1"), ("priority", "file")])
    assert wanted.options == Options(language="de", beam_size=3, hotwords=("Graz", "Linz"))
    assert wanted == fields.Wanted(wanted.options, Priority.FILE, normalize=True, trim_silence=True)
    same = {"language": "de-AT", "beam_size": 3, "hotwords": ["Graz", "Linz"], "trim_silence": True}
    assert read_json({**same, "normalize": True, "priority": "file"}) == wanted


@pytest.mark.parametrize(
    ("texts", "kind", "field", "says"),
    [
        ([("langauge", "de")], UnknownField, "langauge", "did you mean language?"),
        ([("xyz", "1")], UnknownField, "xyz", "known are audio_file, normalize"),
        ([("language", "de"), ("language", "en")], BadField, "language", "language comes twice"),
        ([("beam_size", "9")], BadOption, "beam_size", "is not in the range 1 to 8"),
        ([("beam_size", "x")], BadOption, "beam_size", "must be a whole number"),
        ([("normalize", "perhaps")], BadOption, "normalize", "must be true or false"),
        ([("priority", "now")], BadOption, "priority", "must be final or file"),
        ([("temperature", "0,nan")], BadOption, "temperature", "is not in the range"),
        ([("initial_prompt", "a\0")], BadOption, "initial_prompt", "holds a NUL"),
    ],
)
def test_what_is_wrong_is_named(texts: Any, kind: type, field: str, says: str) -> None:
    with pytest.raises(WhisperdError, match=says) as caught:
        read_form(texts)
    assert isinstance(caught.value, kind)
    assert problems.problem(caught.value)["field"] == field
    assert problems.status_of(caught.value) == 400


def test_members_have_types() -> None:
    for members, says in (
        ({"beam_size": "3"}, "beam_size must be a whole number"),
        ({"x": 1}, "unknown field 'x'"),
    ):
        with pytest.raises(WhisperdError, match=says):
            read_json(members)


def test_openai_by_its_own_names() -> None:
    asked = read_openai(
        [
            ("model", "whisper-1"),
            ("prompt", "Graz"),
            ("temperature", "0.2"),
            ("response_format", "verbose_json"),
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities[]", "segment"),
            ("language", "de"),
            ("beam_size", "2"),
            ("chunking_strategy", "auto"),
        ],
        MODEL,
        "translate",
    )
    assert asked.wanted.options == Options(
        language="de",
        task="translate",
        initial_prompt="Graz",
        temperature=(0.2,),
        word_timestamps=True,
        beam_size=2,
    )
    assert (asked.response_format, asked.granularities, asked.stream) == (
        "verbose_json",
        frozenset({"word", "segment"}),
        False,
    )
    # 0 is that API's default, and stands there for trying again where a text is improbable.
    assert read_openai([("temperature", "0")], MODEL, "transcribe").wanted.options == Options()


@pytest.mark.parametrize(
    ("texts", "kind", "says"),
    [
        ([("model", "large")], UnknownModel, "model 'large' is not loaded; 'fake' is, also called 'whisper-1'"),
        ([("response_format", "xml")], BadOption, "response_format must be json or text or srt"),
        ([("response_format", "srt"), ("stream", "true")], BadField, "must be json or text where stream is true"),
        ([("timestamp_granularities[]", "letter")], BadField, "must be segment or word, not 'letter'"),
        ([("include[]", "logprobs")], BadField, "'logprobs' is nothing that this daemon can include"),
        ([("chunking_strategy", "manual")], BadOption, "chunking_strategy must be auto"),
        ([("task", "translate")], UnknownField, "unknown field 'task'"),
        ([("temperature", "3")], BadOption, "temperature"),
    ],
)
def test_what_openai_may_not_ask(texts: Any, kind: type, says: str) -> None:
    with pytest.raises(WhisperdError, match=says) as caught:
        read_openai(texts, MODEL, "transcribe")
    assert isinstance(caught.value, kind)


def test_no_choice_is_lost_to_openai() -> None:
    said_otherwise = {"task", "initial_prompt", "word_timestamps", "language", "temperature"}
    assert set(OPENAI_CHOICES) == set(CHOICES) - said_otherwise


# --- problems -------------------------------------------------------------------------------------------------


def kinds(of: type[WhisperdError] = WhisperdError) -> list[type[WhisperdError]]:
    return [of, *(kind for below in of.__subclasses__() for kind in kinds(below))]


NEVER_OVER_HTTP = {
    "bad-header": "framing of the native socket",
    "bad-data": "framing of the native socket",
    "header-too-long": "framing of the native socket",
    "payload-too-long": "framing of the native socket",
    "bad-event": "the native socket, and a WebSocket that has begun",
    "bad-payload": "the native socket, and a WebSocket that has begun",
    "unexpected-event": "the native socket, and a WebSocket that has begun",
    "no-microphone": "HTTP hears none",
    "bad-config": "the start",
    "no-room": "a reload",
    "bad-bundle": "the start",
    "internal": "500, as it should be",
}


def test_every_code_has_a_status_or_a_reason_for_none() -> None:
    codes = {kind.code for kind in kinds() if kind.__module__.startswith("whisperd.")}
    assert {"bad-audio", "unknown-field", "loading"} <= codes
    assert codes == set(problems.STATUSES) | set(NEVER_OVER_HTTP)
    assert not set(problems.STATUSES) & set(NEVER_OVER_HTTP)
    assert all(400 <= status < 600 and status != 500 for status in problems.STATUSES.values())


def test_a_problem() -> None:
    assert problems.problem(BadField("x must be y", "x")) == {
        "type": "urn:whisperd:problem:bad-field",
        "title": "Bad field",
        "status": 400,
        "detail": "x must be y",
        "code": "bad-field",
        "retry": False,
        "field": "x",
    }
    assert "field" not in problems.problem(QueueFull("full"))
    assert problems.headers_of(QueueFull("full")) == {"Retry-After": "2"}
    assert problems.headers_of(BadField("x")) == {}
    assert problems.problem(UnknownLanguage("no"))["field"] == "language"


def test_an_error_of_another_layer_is_said_of_a_field() -> None:
    said = problems.about(BadAudio("cut short"), "audio_file")
    assert problems.problem(said) == {**problems.problem(BadAudio("cut short")), "field": "audio_file"}
    assert problems.about(MissingField("x", "x"), "y").__class__ is MissingField
    assert HttpError.code == errors.WhisperdError.code  # changed on the instance alone


def test_a_problem_for_openais_clients() -> None:
    error = problems.openai_problem(UnknownModel("no"))["error"]
    assert error == {
        "message": "no",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert problems.openai_problem(QueueFull("full"))["error"]["type"] == "server_error"
    assert problems.openai_problem(problems.Unauthorized("no"))["error"]["type"] == "authentication_error"


# --- answers --------------------------------------------------------------------------------------------------


def test_a_transcription() -> None:
    body = answers.transcribed(ANSWER, Options(word_timestamps=True), now=0.25)
    assert body == {
        "text": "Hi",
        "language": "en",
        "duration": 2.0,
        "inference_time": 0.3,
        "total_time": 0.5,
        "rtf": 0.15,
        "timestamp": "1970-01-01T00:00:00.250Z",
        "confidence": 0.8,
        "no_speech": None,
        "segments": [
            {
                "start": 0.5,
                "end": 1.0,
                "text": " Hi",
                "avg_logprob": -0.2,
                "no_speech_prob": 0.01,
                "compression_ratio": 1.0,
                "temperature": 0.0,
                "words": [{"word": " Hi", "start": 0.5, "end": 1.0, "probability": 0.9, "confidence": 0.8}],
            }
        ],
    }
    assert "words" not in answers.transcribed(ANSWER, Options(), 0)["segments"][0]
    detected = replace(ANSWER, result=replace(RESULT, languages=(("en", 0.75),)))
    assert answers.transcribed(detected, Options(), 0)["languages"] == {"en": 0.75}
    empty = Answer(Transcription("", "en", 0.0, (), Timings(0, 0, 0), no_speech="no-voice"), 0.0, 0.0, 0.0)
    body = answers.transcribed(empty, Options(), 0)
    assert (body["no_speech"], body["rtf"], body["segments"]) == ("no-voice", None, [])


def test_verbose_json_has_what_was_asked_for() -> None:
    asked = fields.OpenAiWanted(fields.Wanted())
    assert "segments" in answers.openai_verbose(ANSWER, asked)
    words = answers.openai_verbose(ANSWER, replace(asked, granularities=frozenset({"word"})))
    assert "segments" not in words
    assert words["words"] == [{"word": "Hi", "start": 0.5, "end": 1.0}]
    assert words["usage"] == {"type": "duration", "seconds": 2}


@pytest.mark.parametrize(("state", "status"), [("idle", 200), ("busy", 200), ("stuck", 503), ("stopping", 503)])
def test_health_is_the_workers(state: str, status: int) -> None:
    code, body = answers.health({"state": state, "model": "fake"})
    assert (code, body["state"]) == (status, state)
    assert (body["status"] == "ok") == (status == 200)


# --- pieces ---------------------------------------------------------------------------------------------------


def piece(options: Options, *before: Transcription, later: bool = True) -> Options | None:
    return options_of_piece(options, 10.0, 20.0, before, later=later)


def test_the_options_of_pieces() -> None:
    told = Options(
        language="auto",
        prefix="So",
        initial_prompt="Graz",
        condition_on_previous_text=True,
        without_timestamps=False,
    )
    assert piece(told) == told
    empty = Transcription("", "en", 1.0, (), Timings(0, 0, 0))
    assert piece(told, empty) == replace(told, prefix=None)
    detected = replace(RESULT, languages=(("en", 0.9),))
    then = replace(told, prefix=None, language="en", initial_prompt="Hi Hi")
    assert piece(told, empty, detected, RESULT) == then
    many = replace(told, multilingual=True)
    assert piece(many, detected) == replace(many, prefix=None, initial_prompt="Hi")
    hot = replace(RESULT, segments=(replace(RESULT.segments[0], temperature=0.8),))
    assert piece(told, hot) == replace(told, prefix=None)
    carried = replace(told, carry_initial_prompt=True)
    assert piece(carried, detected) == replace(carried, prefix=None, language="en")


def test_the_last_piece_of_a_long_recording_has_times_even_if_it_is_short() -> None:
    assert piece(Options(), later=False) == Options()
    assert piece(Options()) == Options(without_timestamps=False)
    assert piece(Options(without_timestamps=True)) == Options(without_timestamps=True)


def test_times_of_a_recording_in_a_piece_of_it() -> None:
    found = piece(Options(clip_timestamps=(5.0, 12.0, 18.0, 19.0, 19.5)))
    assert found is not None and found.clip_timestamps == (0.0, 2.0, 8.0, 9.0, 9.5)
    assert piece(Options(clip_timestamps=(5.0, 10.0))) is None


# --- preparation ----------------------------------------------------------------------------------------------


def test_normalizing_raises_to_a_peak_and_never_lowers() -> None:
    quiet = np.array([0, 1000, -2000], np.int16)
    raised = prepare.normalized(quiet)
    assert raised.tolist() == [0, round(1000 * prepare.PEAK / 2000), -round(prepare.PEAK)]
    assert np.abs(prepare.normalized(np.array([1, -1], np.int16))).max() == 32  # by 30 dB, and no more
    for kept in ([32767, 0], [-32768, 5], [0, 0], []):
        assert prepare.normalized(np.array(kept, np.int16)).tolist() == kept


# --- metrics --------------------------------------------------------------------------------------------------


def status(**more: Any) -> dict[str, Any]:
    told = {"queue": 2, "running": 1, "connections": 3, "buffered_seconds": 1.5, "state": "busy"}
    return {**told, "uptime_seconds": 12.0, **more}


def exposed(metrics: Metrics, *, now: float = 10.0, busy: bool = True, **more: Any) -> dict[str, Any]:
    progress = Progress(5, 7.0 if busy else None, 8.0, 0)
    text = metrics.text(status(**more), progress, replace(MODEL, name='f"a\\k\ne'), now=now, resident_bytes=4096)
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_metrics_are_read_by_prometheus_own_parser() -> None:
    metrics = Metrics()
    metrics.note(Report("1", "transcribed", 1.5, Outcome(RESULT, queue_s=0.2, run_s=0.3)))
    metrics.note(Report("2", "no-speech", 1.5, Outcome(RESULT, queue_s=0.0, run_s=400.0)))
    metrics.note(Report("3", "queue-full", 1.0))
    metrics.responded("POST", "/transcribe", 200)
    metrics.responded("POST", "/transcribe", 200)
    found = exposed(metrics)

    def value(name: str, **labels: str) -> float:
        family = found[
            name.removesuffix("_total").removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        ]
        [sample] = [s for s in family.samples if s.name == name and s.labels == labels]
        return float(sample.value)

    assert value("whisperd_requests_total", outcome="transcribed") == 1
    assert value("whisperd_requests_total", outcome="queue-full") == 1
    assert value("whisperd_http_responses_total", method="POST", path="/transcribe", status="200") == 2
    assert value("whisperd_queue_depth") == 2
    assert value("whisperd_resident_bytes") == 4096
    assert value("whisperd_watchdog_age_seconds") == 2
    assert value("whisperd_audio_seconds_total") == 3
    assert value("whisperd_request_seconds_bucket", le="0.25") == 0
    assert value("whisperd_request_seconds_bucket", le="0.5") == 1
    assert value("whisperd_request_seconds_bucket", le="+Inf") == 2
    assert value("whisperd_request_seconds_count") == 2
    assert value("whisperd_request_seconds_sum") == pytest.approx(400.5)
    assert value("whisperd_rtf_bucket", le="0.25") == 1
    assert value("whisperd_build_info", version="0.1.0", model='f"a\\k\ne') == 1
    assert found["whisperd_rtf"].type == "histogram"
    assert all(family.documentation for family in found.values())


def test_an_idle_worker_has_no_age_and_a_stuck_one_is_seen() -> None:
    assert exposed(Metrics(), busy=False)["whisperd_watchdog_age_seconds"].samples[0].value == 0
    assert exposed(Metrics(), state="stuck")["whisperd_stuck"].samples[0].value == 1


# --- the document ---------------------------------------------------------------------------------------------


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for inner in value.values() for found in references(inner)]
    return [found for inner in value for found in references(inner)] if isinstance(value, list) else []


def test_the_document_is_whole_and_plain_json() -> None:
    document = openapi.document(MODEL, 16)
    assert json.loads(json.dumps(document)) == document
    named = {f"#/components/schemas/{name}" for name in schemas.SCHEMAS}
    assert set(references(document)) == named  # none is missing, and none is left over


def test_the_document_knows_every_choice() -> None:
    paths = openapi.document(MODEL, 16)["paths"]
    for path, kind, known in (
        ("/transcribe", "multipart/form-data", CHOICES),
        ("/transcribe/base64", "application/json", CHOICES),
        ("/v1/audio/transcriptions", "multipart/form-data", OPENAI_CHOICES),
    ):
        properties = paths[path]["post"]["requestBody"]["content"][kind]["schema"]["properties"]
        assert set(known) <= set(properties)
        assert all(properties[name]["description"] for name in known)


def test_what_answers_look_like_is_what_the_document_says() -> None:
    from jsonschema import Draft4Validator

    def valid(name: str, body: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": plain(schemas.SCHEMAS)}}
        Draft4Validator(schema).validate(body)

    def plain(schema: Any) -> Any:
        """`nullable` is OpenAPI's, and means nothing to JSON schema."""
        if isinstance(schema, list):
            return [plain(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        made = {name: plain(value) for name, value in schema.items()}
        if made.pop("nullable", False) is True:
            made["type"] = [made["type"], "null"]
        return made

    valid("Transcription", answers.transcribed(ANSWER, Options(word_timestamps=True), 0))
    valid("OpenAiVerbose", answers.openai_verbose(ANSWER, fields.OpenAiWanted(fields.Wanted())))
    valid("OpenAiText", answers.openai_json(ANSWER))
    valid("OpenAiModels", answers.openai_models(MODEL, 0))
    valid("Model", answers.model_info(MODEL, Limits()))
    valid("Greeting", answers.greeting())
    valid("Problem", problems.problem(BadField("x", "x")))
    valid("OpenAiProblem", problems.openai_problem(BadField("x", "x")))
    valid("Health", answers.health({"state": "idle", "model": "m"})[1])
