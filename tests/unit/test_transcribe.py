"""The engine over a random model: what is refused, what falls back, what a window is, what is cancelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import tiny_bundle
from whisperd.errors import BundleError, Cancelled, UnknownLanguage, UnknownTask
from whisperd.speech import guards
from whisperd.speech.attempts import MARGIN_POSITIONS
from whisperd.speech.longform import NOTHING
from whisperd.speech.options import Options
from whisperd.speech.transcribe import Transcriber, load
from whisperd.speech.types import Unattended
from whisperd.speech.windows import SAMPLE_RATE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle"), "int8")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Transcriber:
    return load(folder, threads=1, language="en")


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a random model says is all refused by the guards, which have tests of their own."""
    monkeypatch.setattr(guards, "verdict", lambda *_: None)
    monkeypatch.setattr(guards, "wants_fallback", lambda *_: False)


def noise(seconds: float, level: float = 3000) -> np.ndarray:
    return np.random.default_rng(2).normal(0, level, int(seconds * SAMPLE_RATE)).astype(np.int16)


class Encodes:
    """Counts encoder runs and their lengths."""

    def __init__(self, engine: Transcriber, monkeypatch: pytest.MonkeyPatch) -> None:
        self.positions: list[int] = []
        real = engine._model.encode

        def encode(mel: Any, run_options: Any = None) -> Any:
            self.positions.append(mel.shape[1] // 2)
            return real(mel, run_options)

        monkeypatch.setattr(engine._model, "encode", encode)


def test_info_tells_what_is_loaded(engine: Transcriber) -> None:
    info = engine.info
    assert (info.name, info.precision, info.multilingual) == ("tiny-random", "int8", True)
    assert info.languages == info.allowed_languages == ("en", "de", "fr")
    assert info.default_language == "en"


def test_languages_and_tasks_are_checked(folder: Path, engine: Transcriber) -> None:
    engine.check(Options("de", "translate"))
    engine.check(Options("auto"))
    with pytest.raises(UnknownLanguage, match="'tiny-random|does not know the language 'xx'"):
        engine.check(Options("xx"))
    with pytest.raises(UnknownTask, match="'sing'; known: transcribe, translate"):
        engine.check(Options(task="sing"))
    narrow = load(folder, threads=1, language="de", languages=("de", "fr"))
    with pytest.raises(UnknownLanguage, match="'en' is not allowed here; allowed: de, fr"):
        narrow.check(Options("en"))
    with pytest.raises(UnknownLanguage, match="'xx'"):
        load(folder, threads=1, language="en", languages=("en", "xx"))
    with pytest.raises(UnknownLanguage, match="not allowed"):
        load(folder, threads=1, language="en", languages=("de",))


def test_an_english_model_does_not_translate(tmp_path: Path) -> None:
    english = load(tiny_bundle(tmp_path, "int8", eot=50256), threads=1, language="en")
    assert english.info.languages == ("en",)
    with pytest.raises(UnknownTask, match="knows only English"):
        english.check(Options(task="translate"))
    with pytest.raises(UnknownLanguage):
        english.check(Options("de"))
    assert english.transcribe(noise(0.5), Options("auto"), Unattended()).language == "en"


def test_only_real_frames_and_a_margin_are_encoded(engine: Transcriber, monkeypatch: pytest.MonkeyPatch) -> None:
    encodes = Encodes(engine, monkeypatch)
    result = engine.transcribe(noise(2.0), Options(), Unattended())
    # A random model does not end by itself: the cap or a loop sends it to the full context, once.
    assert encodes.positions == [100 + MARGIN_POSITIONS, 1500]
    assert result.fallbacks == 1
    assert result.audio_s == 2.0


@pytest.mark.parametrize(
    ("quiet_s", "more"), [(0.0, MARGIN_POSITIONS), (0.2, 5), (0.3, 0), (0.31, 0), (1.0, 0), (25.0, 0)]
)
def test_a_clips_own_quiet_is_the_margin_and_no_more_of_it_is_encoded(
    engine: Transcriber, monkeypatch: pytest.MonkeyPatch, quiet_s: float, more: int
) -> None:
    encodes = Encodes(engine, monkeypatch)
    pcm = np.concatenate([noise(2.0), np.zeros(round(quiet_s * SAMPLE_RATE), np.int16)])
    result = engine.transcribe(pcm, Options(), Unattended())
    own = min(round(quiet_s * 50), MARGIN_POSITIONS)
    # The last sound is in one frame more where there are samples for it: its window reaches into them.
    assert encodes.positions[0] in (100 + own + more, 101 + own + more)
    assert result.audio_s == 2.0 + quiet_s


def test_where_times_are_told_the_quiet_is_encoded_too(
    engine: Transcriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    encodes = Encodes(engine, monkeypatch)
    pcm = np.concatenate([noise(2.0), np.zeros(SAMPLE_RATE, np.int16)])
    engine.transcribe(pcm, Options(without_timestamps=False), Unattended())
    assert encodes.positions[0] == 150 + MARGIN_POSITIONS


def test_what_is_encoded_in_place_of_quiet_is_the_clip_and_then_silence(engine: Transcriber) -> None:
    attempts = engine._attempts
    log_mel = engine._mel(np.concatenate([noise(1.0), np.zeros(SAMPLE_RATE // 10, np.int16)]))
    window = attempts.window(log_mel, 1.1)
    padded = attempts.pad(window.mel, full=False)
    assert window.frames == 110 and padded.shape == (80, 2 * (51 + MARGIN_POSITIONS))
    np.testing.assert_array_equal(padded[:, :110], attempts.scaled(log_mel))
    assert (padded[:, 110:] == attempts._silence).all()
    assert attempts.pad(window.mel, full=True).shape == (80, 3000)


def test_full_context_on_demand(engine: Transcriber, monkeypatch: pytest.MonkeyPatch) -> None:
    encodes = Encodes(engine, monkeypatch)
    assert engine.transcribe(noise(2.0), Options(), Unattended(), full_context=True).fallbacks == 0
    assert encodes.positions == [1500]


def test_long_clips_are_windows_whose_times_join(engine: Transcriber) -> None:
    result = engine.transcribe(noise(70), Options(), Unattended())
    # The words' own times: where a random model looks, but one after the other.
    assert len(result.segments) >= 3
    for before, after in zip(result.segments, result.segments[1:], strict=False):
        assert 0.0 <= before.start_s <= before.end_s <= after.start_s
    assert result.segments[-1].end_s <= 70.0
    assert result.text == "".join(segment.text for segment in result.segments).strip()


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 200, 201, 399, 401])
def test_very_short_clips(engine: Transcriber, samples: int) -> None:
    result = engine.transcribe(noise(1)[:samples], Options(), Unattended())
    assert result.audio_s == samples / SAMPLE_RATE
    assert (samples == 0) == (not result.segments)


def test_nothing_is_not_decoded(engine: Transcriber, monkeypatch: pytest.MonkeyPatch) -> None:
    encodes = Encodes(engine, monkeypatch)
    dither = np.random.default_rng(0).integers(-1, 2, 3 * SAMPLE_RATE).astype(np.int16)
    for quiet in (np.zeros(3 * SAMPLE_RATE, np.int16), dither):
        result = engine.transcribe(quiet, Options("auto"), Unattended())
        assert (result.text, result.segments, result.language) == ("", (), "en")
    assert encodes.positions == []
    engine.transcribe(noise(0.5, 30), Options(), Unattended())  # -61 dB is quiet, but not nothing
    assert encodes.positions


def test_loudness_does_not_change_what_the_model_sees(engine: Transcriber) -> None:
    loud, quiet = (engine._attempts.scaled(engine._mel(noise(1, 1500) * np.int16(k))) for k in (4, 2))
    np.testing.assert_allclose(loud, quiet, atol=1e-3)
    faint = engine._attempts.scaled(np.full((80, 10), NOTHING + 1, np.float32))
    assert faint.max() == pytest.approx(0.5)  # (-5 + 3 + 4) / 4: raised by 30 dB and no more


def test_auto_language_is_detected(engine: Transcriber, monkeypatch: pytest.MonkeyPatch) -> None:
    probable = (("fr", 0.75), ("en", 0.25))
    monkeypatch.setattr(engine._attempts.decoder, "languages", lambda *_: probable)
    encodes = Encodes(engine, monkeypatch)
    found = engine.transcribe(noise(1), Options("auto"), Unattended(), full_context=True)
    assert (found.language, found.languages) == ("fr", probable)
    assert len(encodes.positions) == 1  # what was encoded for the language is decoded as well
    assert engine.transcribe(noise(1), Options("de"), Unattended()).languages == ()


def test_cancel_leaves_the_engine_usable(engine: Transcriber) -> None:
    class Now(Unattended):
        def step(self) -> None:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        engine.transcribe(noise(1), Options(), Now())
    assert engine.transcribe(noise(1), Options(), Unattended()).audio_s == 1.0


def test_terminated_run_leaves_the_engine_usable(engine: Transcriber) -> None:
    import onnxruntime

    class Terminated(Unattended):
        def run_options(self) -> Any:
            options = onnxruntime.RunOptions()
            options.terminate = True
            return options

    with pytest.raises(Exception, match="terminate"):
        engine.transcribe(noise(1), Options(), Terminated())
    assert engine.transcribe(noise(1), Options(), Unattended()).audio_s == 1.0


def test_timings_come_from_the_control_s_clock(engine: Transcriber) -> None:
    class Ticking(Unattended):
        ticks = 0.0

        def now(self) -> float:
            self.ticks += 1.0
            return self.ticks

    timings = engine.transcribe(noise(1), Options(), Ticking()).timings
    assert timings.features_ms == 2000.0  # before the encoder; and the count of voice
    assert timings.encode_ms == timings.decode_ms == 2000.0  # the window and its fallback


def test_a_graph_that_is_none_is_a_bundle_error(folder: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "decoder.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"ONNX Runtime .* cannot load"):
        load(broken, threads=1, language="en")
    shutil.copy(folder / "decoder.onnx", broken)
    (broken / "vocabulary.data").write_bytes(b"")
    with pytest.raises(BundleError, match=r"vocabulary.data is not a vocabulary of \d+ tokens"):
        load(broken, threads=1, language="en")
