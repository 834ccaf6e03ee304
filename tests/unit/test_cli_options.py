"""The options of a clip as flags: all of them, as they are declared, to the daemon and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_daemon
import numpy as np
import pytest
import soundfile
from fake_daemon import FakeEngine, serve
from whisperd import cli
from whisperd.cli_options import COMMON
from whisperd.config import Limits
from whisperd.speech.options import CHOICES, Options
from whisperd.speech.types import Segment, Timings, Transcription, Word

GIVEN: dict[str, tuple[list[str], Any]] = {
    "language": (["--language", "de-AT"], "de"),
    "task": (["--task", "translate"], "translate"),
    "without_timestamps": (["--without-timestamps"], True),
    "word_timestamps": (["--word-timestamps"], True),
    "beam_size": (["--beam-size", "5"], 5),
    "patience": (["--patience", "1.5"], 1.5),
    "length_penalty": (["--length-penalty", "0.6"], 0.6),
    "best_of": (["--best-of", "3"], 3),
    "repetition_penalty": (["--repetition-penalty", "1.2"], 1.2),
    "no_repeat_ngram_size": (["--no-repeat-ngram-size", "3"], 3),
    "temperature": (["--temperature", "0,0.2, 0.4"], (0.0, 0.2, 0.4)),
    "compression_ratio_threshold": (["--compression-ratio-threshold", "none"], None),
    "log_prob_threshold": (["--log-prob-threshold", "-0.5"], -0.5),
    "no_speech_threshold": (["--no-speech-threshold", "0.6"], 0.6),
    "condition_on_previous_text": (["--condition-on-previous-text"], True),
    "prompt_reset_on_temperature": (["--prompt-reset-on-temperature", "0.3"], 0.3),
    "initial_prompt": (["--initial-prompt", "Zoë, 100 % und mehr"], "Zoë, 100 % und mehr"),
    "prefix": (["--prefix", "none"], "none"),
    "hotwords": (["--hotwords", "Anna Müller,Zoo"], ("Anna Müller", "Zoo")),
    "suppress_blank": (["--no-suppress-blank"], False),
    "suppress_tokens": (["--suppress-tokens=-1,220"], (-1, 220)),
    "max_initial_timestamp": (["--max-initial-timestamp", "2"], 2.0),
    "max_new_tokens": (["--max-new-tokens", "100"], 100),
    "prepend_punctuations": (["--prepend-punctuations", "(["], "(["),
    "append_punctuations": (["--append-punctuations", ")]"], ")]"),
    "clip_timestamps": (["--clip-timestamps", "0,0.01,0.03"], (0.0, 0.01, 0.03)),
    "multilingual": (["--multilingual"], True),
    "carry_initial_prompt": (["--carry-initial-prompt"], True),
    "language_detection_segments": (["--language-detection-segments", "4"], 4),
    "language_detection_threshold": (["--language-detection-threshold", "0.8"], 0.8),
    "vad_filter": (["--vad-filter"], True),
    "vad_threshold": (["--vad-threshold", "0.4"], 0.4),
    "vad_min_speech_duration_ms": (["--vad-min-speech-duration-ms", "250"], 250),
    "vad_min_silence_duration_ms": (["--vad-min-silence-duration-ms", "500"], 500),
    "vad_speech_pad_ms": (["--vad-speech-pad-ms", "100"], 100),
    "grammar": (["--grammar", 'root ::= "Yes." | "No."'], 'root ::= "Yes." | "No."'),
    "grammar_rule": (["--grammar-rule", "order"], "order"),
    "grammar_penalty": (["--grammar-penalty", "5"], 5.0),
    "hallucination_silence_threshold": (["--hallucination-silence-threshold", "2"], 2.0),
}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def path(tmp_path: Path, engine: FakeEngine) -> Iterator[Path]:
    with serve(tmp_path / "s", engine, Limits(max_clip_seconds=2.0)):
        yield tmp_path / "s"


@pytest.fixture
def clip(tmp_path: Path) -> str:
    soundfile.write(tmp_path / "a.wav", np.ones(1000), 16_000)
    return str(tmp_path / "a.wav")


@pytest.mark.parametrize("name", CHOICES)
def test_every_option_comes_to_the_engine_as_it_was_given(
    name: str, path: Path, clip: str, engine: FakeEngine
) -> None:
    flags, value = GIVEN[name]
    assert value != CHOICES[name].default
    assert cli.main(["--socket", str(path), "transcribe", *flags, clip]) == cli.OK
    ((_, options),) = engine.heard
    assert options == Options(**{name: value})


def test_what_is_not_given_is_not_sent(path: Path, clip: str, engine: FakeEngine) -> None:
    assert cli.main(["--socket", str(path), "transcribe", clip]) == cli.OK
    assert cli.main(["--socket", str(path), "transcribe", "--timestamps", "--hotwords", "", clip]) == cli.OK
    assert [options for _, options in engine.heard] == [Options(), Options(without_timestamps=False)]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--beam-size", "9"], "argument --beam-size: 9 is not in the range 1 to 8"),
        (["--beam-size", "two"], "argument --beam-size: must be a whole number, not 'two'"),
        (["--beam-size", "none"], "argument --beam-size: must be a whole number, not 'none'"),
        (["--temperature", "0,warm"], "argument --temperature: must be a number, not 'warm'"),
        (["--temperature", ""], "argument --temperature: must be a list of 1 to 8, not of 0"),
        (["--max-initial-timestamp", "31"], "is not in the range 0 to 30 s"),
        (["--task", "sing"], "argument --task: invalid choice"),
        (["--word-timestamps=yes"], "argument --word-timestamps: ignored explicit argument"),
        (["--hotwords", "a" * 101], "argument --hotwords: is 101 characters long"),
    ],
)
def test_wrong_values_are_usage_and_name_the_flag(
    flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["transcribe", *flags, "a.wav"])
    assert caught.value.code == cli.USAGE
    err = capsys.readouterr().err
    assert says in err and err.startswith("usage: whisperctl transcribe [OPTION")


def test_a_grammar_may_be_in_a_file(
    path: Path, clip: str, engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "orders.gbnf"
    file.write_text('root ::= "Größer."\n', encoding="utf-8")
    assert cli.main(["--socket", str(path), "transcribe", "--grammar", f"@{file}", clip]) == cli.OK
    assert engine.heard[0][1].grammar == 'root ::= "Größer."\n'

    def refused(name: str, says: str) -> None:
        with pytest.raises(SystemExit) as caught:
            cli.main(["transcribe", "--grammar", f"@{name}", clip])
        assert caught.value.code == cli.USAGE
        assert says in capsys.readouterr().err

    refused(f"{file}x", f"argument --grammar: cannot read {file}x: No such file")
    refused(str(tmp_path), f"cannot read {tmp_path}: Is a directory")
    file.write_bytes(b'root ::= "Gr\xf6\xdfer"')
    refused(str(file), "is no UTF-8")
    file.write_text("#" * 1_000_000)
    refused(str(file), "argument --grammar: is 100000 characters long, 8000 is the most")


@pytest.mark.parametrize("command", ["transcribe", "listen"])
def test_help_has_every_option_with_its_doc_and_default(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, choice in CHOICES.items():
        flag = f" --{name.replace('_', '-')} "
        if command == "listen" and not choice.live:
            assert flag not in shown
            continue
        assert flag in shown and choice.doc in shown
    for part in ("0,0.4", "1 to 8") if command == "transcribe" else ():
        assert part in shown
    assert "examples:" in shown and "exit codes:" in shown
    if command == "transcribe":
        common, rest = shown.split("decoding options:")
        for name in COMMON:
            flag = f" --{name.replace('_', '-')} "
            assert flag in common and flag not in rest.partition("examples:")[0]
        assert {"beam_size", "hotwords", "language"} < set(COMMON) < CHOICES.keys()


class _Speaker(FakeEngine):
    def transcribe(self, pcm: Any, options: Options, control: Any) -> Transcription:
        words = (Word(0.25, 0.5, " Hello", (1,), 0.75, 0.875), Word(0.5, 1.0, " there.", (2,), 0.5, 0.625))
        segment = Segment(
            0.25, 1.0, " Hello there.", (1, 2), -0.1, 0.0, words=words if options.word_timestamps else ()
        )
        return Transcription(
            "Hello there.", "en", len(pcm) / 16_000, (segment,), Timings(1, 2, 3), confidence=0.75
        )


def test_words_as_json(tmp_path: Path, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(tmp_path / "s", _Speaker()):
        asked = ["--socket", str(tmp_path / "s"), "transcribe", "--json"]
        assert cli.main([*asked, "--word-timestamps", clip]) == cli.OK
        assert cli.main([*asked, clip]) == cli.OK
    with_words, without = map(json.loads, capsys.readouterr().out.splitlines())
    assert with_words["confidence"] == 0.75
    assert with_words["segments"][0]["words"] == [
        {"word": " Hello", "start": 0.25, "end": 0.5, "probability": 0.75, "confidence": 0.875},
        {"word": " there.", "start": 0.5, "end": 1.0, "probability": 0.5, "confidence": 0.625},
    ]
    assert "words" not in without["segments"][0]


def test_listen_sends_those_of_live_speech(tmp_path: Path) -> None:
    flags = ["--language", "de", "--initial-prompt", "Zoë", "--hotwords", "Anna,Zoo", "--word-timestamps"]
    with fake_daemon.Scripted(tmp_path / "s") as daemon:
        listening = ("listening", {"mode": "hands-free", "device": "mic"})
        daemon.answers["listen"] = [listening, fake_daemon.final("Hallo"), fake_daemon.STOPPED]
        assert cli.main(["--socket", str(tmp_path / "s"), "listen", "--once", *flags]) == cli.OK
        wish = daemon.wait_for("listen").data
    assert wish["language"] == "de" and wish["initial_prompt"] == "Zoë"
    assert wish["hotwords"] == ["Anna", "Zoo"] and wish["word_timestamps"] is True
    assert not wish.keys() & {"task", "beam_size"}


def test_listen_has_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["listen", "--beam-size", "5"])
    assert caught.value.code == cli.USAGE
