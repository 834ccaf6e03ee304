"""scripts/bench/accuracy: conditions, kept results, slices and the gate, words and their confidence."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bench import accuracy_clips, accuracy_score
from bench.accuracy_calibrate import (
    area,
    calibration_error,
    fit_isotonic,
    fit_logistic,
    folds,
    logistic,
)
from bench.accuracy_clips import ClipsError, entries
from bench.accuracy_conditions import CONDITIONS, car_noise, clipped, far, speech_power, under, with_noise
from bench.accuracy_divergence import divergence
from bench.accuracy_report import judge
from bench.accuracy_runs import (
    FULL,
    INT8,
    CacheError,
    Contender,
    Heard,
    Results,
    code_version,
    fair_order,
)
from bench.accuracy_score import Item, cells, errors, failing, interval, slices
from bench.accuracy_words import judged, spans
from rich.console import Console
from whisperd.audio.pcm import SAMPLE_RATE, Int16Samples

HEARD = Heard("Turn left.", (1, 2), (-0.1, -0.25), -0.2, 0.01)


def voice(seconds: float = 2.0) -> Int16Samples:
    """A tone in the middle half, silence around it."""
    count = round(seconds * SAMPLE_RATE)
    pcm = 6000 * np.sin(2 * np.pi * 440 * np.arange(count) / SAMPLE_RATE)
    pcm[: count // 4] = pcm[-count // 4 :] = 0
    return pcm.astype(np.int16)


def decibels(power: float) -> float:
    return 10 * math.log10(power)


# --- conditions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr", [20, 10, 5])
def test_noise_is_so_much_under_the_speech(snr: float) -> None:
    pcm = voice().astype(np.float64)
    noise = car_noise(len(pcm), np.random.default_rng(1))
    added = with_noise(pcm, noise, snr) - pcm
    assert decibels(speech_power(pcm) / float((added**2).mean())) == pytest.approx(snr, abs=0.01)
    # The speech alone counts, and not the silence around it: a tone has half its amplitude's square.
    assert decibels(speech_power(pcm) / (6000**2 / 2)) == pytest.approx(0, abs=0.1)


def test_a_mixture_that_is_too_loud_is_turned_down_as_a_whole() -> None:
    pcm = voice().astype(np.float64) * 5
    noise = car_noise(len(pcm), np.random.default_rng(1))
    mixed = with_noise(pcm, noise, 5)
    assert np.abs(mixed).max() == pytest.approx(32767)
    gain = math.sqrt(speech_power(pcm) * 10 ** (-5 / 10))
    assert np.allclose(mixed / (pcm + gain * noise), mixed[0] / (gain * noise[0]))


def test_a_cars_noise_is_mostly_low() -> None:
    noise = car_noise(SAMPLE_RATE, np.random.default_rng(3))
    assert float((noise**2).mean()) == pytest.approx(1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    share = power[:400].sum() / power.sum()
    assert 0.7 < share < 0.99  # below 400 Hz
    assert power[1000:4000].sum() > 0  # and some of it is where speech is


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_gives_the_same_each_time_and_keeps_the_length(condition: str) -> None:
    pcm = voice()
    once, again = under(condition, "a", pcm), under(condition, "a", pcm)
    assert once.dtype == np.int16 and len(once) == len(pcm)
    assert (once == again).all()
    assert condition == "clean" or (once != pcm).any()


def test_clips_have_noises_of_their_own_and_the_levels_are_right() -> None:
    pcm = voice()
    assert (under("car 5 dB", "a", pcm) != under("car 5 dB", "b", pcm)).any()
    for condition, expected in (("-5 dB", -5.0), ("-20 dB", -20.0)):
        quiet = under(condition, "a", pcm).astype(np.float64)
        assert decibels((quiet**2).sum() / (pcm.astype(np.float64) ** 2).sum()) == pytest.approx(expected, abs=0.1)
    with pytest.raises(ValueError, match="nothing is silent"):
        under("car 5 dB", "nothing", np.zeros(100, np.int16))


def test_clipping_is_hard() -> None:
    pcm = voice().astype(np.float64)
    hard = clipped(pcm)
    assert hard.max() == 32767 and hard.min() == -32768
    flat = np.abs(hard) >= 32767
    assert 0.3 < flat[len(pcm) // 4 : 3 * len(pcm) // 4].mean() < 0.95
    assert flat.sum() > 20 * (np.abs(pcm) >= np.abs(pcm).max()).sum()


def test_far_is_quieter_and_rings_on() -> None:
    pcm = voice().astype(np.float64)
    heard = far(pcm, np.random.default_rng(1))
    assert decibels(speech_power(heard) / speech_power(pcm)) == pytest.approx(-18, abs=0.5)
    after = slice(3 * len(pcm) // 4 + 100, 3 * len(pcm) // 4 + 1600)
    assert not pcm[after].any()
    assert decibels(float((heard[after] ** 2).mean()) / speech_power(heard)) > -15


# --- the listing ----------------------------------------------------------------------------------------------


def test_the_listing_has_six_languages_and_enough_clips() -> None:
    found = entries()
    by_language = {
        code: sum(e.language == code for e in found) for code in dict.fromkeys(e.language for e in found)
    }
    assert len(found) >= 200 and len(by_language) == 6 and min(by_language.values()) >= 36
    assert len({entry.name for entry in found}) == len(found)


def test_a_line_that_is_no_clip_is_named(tmp_path: Path) -> None:
    listing = tmp_path / "clips.tsv"
    listing.write_text("# a comment\nen\ttests\tcommand\nen tests command\n")
    with pytest.raises(ClipsError, match=r"clips\.tsv:3 is not a language"):
        entries(listing)
    listing.write_text("en\tradio\tx\n")
    clips, missing = accuracy_clips.gather(entries(listing))
    assert not clips and "unknown source 'radio'" in missing["en/radio/x"]


def test_what_cannot_be_had_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(accuracy_clips, "SOUNDS", Path("/nonexistent"))
    monkeypatch.setattr(accuracy_clips.shutil, "which", lambda _: None)
    wanted = [e for e in entries() if e.source in ("asterisk", "flite:slt")] + [
        e for e in entries() if e.what == "command"
    ]
    clips, missing = accuracy_clips.gather(wanted)
    assert [clip.name for clip in clips] == ["en/tests/command"]
    assert len(missing) == len(wanted) - 1
    accuracy_clips.tell_missing(missing, Console(width=200))
    said = capsys.readouterr().out
    assert f"{len(missing)} CLIPS ARE MISSING" in said
    assert "asterisk-core-sounds-es or asterisk-core-sounds-es-g722 is not installed" in said
    assert "apt install" in said and "flite is not installed" in said


def test_every_beginning_of_the_order_is_fair() -> None:
    languages = ["en"] * 40 + ["de"] * 36 + ["fr"] * 36
    conditions = list(CONDITIONS)
    order = fair_order(languages, conditions, 6)
    assert len(order) == len(set(order)) == len(languages) * len(conditions)
    assert order == fair_order(languages, conditions, 6) != fair_order(languages, conditions, 7)
    for count in (28, 56, 112, 224):
        beginning = order[:count]
        for language in dict.fromkeys(languages):
            share = sum(languages[index] == language for index, _ in beginning) / count
            assert share == pytest.approx(languages.count(language) / len(languages), abs=0.04)
        for condition in conditions:
            assert sum(c == condition for _, c in beginning) == pytest.approx(count / len(conditions), abs=3)
    # Each clip is heard once before any is heard twice.
    assert len({index for index, _ in order[: len(languages)]}) == len(languages)


# --- kept results ---------------------------------------------------------------------------------------------


def contender(made_of: str = "x") -> Contender:
    def never() -> None:
        raise AssertionError("not to be loaded")

    return Contender("int8 tail", made_of, never)  # type: ignore[arg-type]


def test_a_broken_off_run_goes_on(tmp_path: Path) -> None:
    with Results(tmp_path, contender()) as kept:
        kept.add("aa", HEARD)
        path = kept.path
    # The power went in the middle of a line.
    path.write_bytes(path.read_bytes() + b'{"audio": "bb", "text": "Tu')
    with Results(tmp_path, contender()) as kept:
        assert kept["aa"] == HEARD and "bb" not in kept
        kept.add("bb", Heard("é"))
    with Results(tmp_path, contender()) as kept:
        assert kept["aa"] == HEARD and kept["bb"].text == "é"
    assert len(path.read_text().splitlines()) == 2


def test_what_a_contender_is_made_of_has_its_own_results(tmp_path: Path) -> None:
    with Results(tmp_path, contender("x")) as kept:
        kept.add("aa", HEARD)
    with Results(tmp_path, contender("y")) as other:
        assert "aa" not in other


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "Expecting value"),
        ("[]", "not an object"),
        ('{"audio": "bb", "text": 7, "tokens": [], "logprobs": []}', "not strings"),
        ('{"audio": "bb", "text": "a", "tokens": [1], "logprobs": []}', "1 tokens and 0"),
        ('{"audio": "bb", "text": "a", "tokens": [], "logprobs": [], "more": 1}', "more"),
        ('{"text": "a", "tokens": [], "logprobs": []}', "audio"),
    ],
)
def test_a_line_that_is_no_result_is_named(tmp_path: Path, line: str, why: str) -> None:
    with Results(tmp_path, contender()) as kept:
        kept.add("aa", HEARD)
        path = kept.path
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(CacheError, match=rf"{path.name}:2 is not a result \(.*{why}"):
        Results(tmp_path, contender())


def test_two_runs_do_not_write_into_one_file(tmp_path: Path) -> None:
    with Results(tmp_path, contender()), pytest.raises(CacheError, match="in use"):
        Results(tmp_path, contender())


def test_what_another_run_is_writing_can_be_looked_at(tmp_path: Path) -> None:
    with Results(tmp_path, contender(), only_read=True) as nothing:
        assert "aa" not in nothing and not list(tmp_path.iterdir())
    with Results(tmp_path, contender()) as kept:
        kept.add("aa", HEARD)
        kept.path.write_bytes(kept.path.read_bytes() + b'{"audio')
        with Results(tmp_path, contender(), only_read=True) as seen:
            assert seen["aa"] == HEARD
            with pytest.raises(ValueError, match="only read"):
                seen.add("bb", HEARD)
        assert kept.path.read_bytes().endswith(b'{"audio')


def test_older_results_are_taken_where_there_are_no_own(tmp_path: Path) -> None:
    with Results(tmp_path, contender("old")) as old:
        old.add("aa", Heard("old"))
        old.add("bb", Heard("old"))
    other = Contender("int8 tail, elsewhere", "old", contender().load)
    with Results(tmp_path, other) as elsewhere:
        elsewhere.add("cc", Heard("not it"))
    with Results(tmp_path, contender("new")) as new:
        new.add("aa", Heard("new"))
        new.borrow()
        assert (new["aa"].text, new["bb"].text, "cc" in new, new.older) == ("new", "old", False, 1)
    with Results(tmp_path, contender("new"), only_read=True) as new:
        assert "bb" not in new


def test_code_that_matters_makes_new_results(tmp_path: Path) -> None:
    (tmp_path / "decoding.py").write_text("a")
    (tmp_path / "vad.py").write_text("a")
    first = code_version(tmp_path)
    (tmp_path / "vad.py").write_text("b")
    assert code_version(tmp_path) == first
    (tmp_path / "decoding.py").write_text("b")
    assert code_version(tmp_path) != first


# --- slices and the gate --------------------------------------------------------------------------------------


def item(clip: str, language: str, condition: str, int8: int, full: int, words: int = 100) -> Item:
    return Item(clip, language, condition, words, {INT8: int8, FULL: full})


def even(int8: int, full: int) -> list[Item]:
    """Two languages in two conditions."""
    pairs = [(language, condition) for language in ("en", "de") for condition in ("clean", "far")]
    return [item(f"{language}/1", language, condition, int8, full) for language, condition in pairs]


def test_slices_add_up() -> None:
    found = slices(
        [item("a", "en", "clean", 3, 1), item("a", "en", "far", 5, 4), item("b", "de", "far", 1, 2, 50)]
    )
    assert [(s.kind, s.name, s.words) for s in found] == [
        ("overall", "all", 250),
        ("language", "en", 200),
        ("language", "de", 50),
        ("condition", "clean", 100),
        ("condition", "far", 150),
    ]
    assert found[0].rate(INT8) == pytest.approx(3.6)
    assert found[0].difference(INT8, FULL) == pytest.approx(0.8)
    assert found[2].difference(INT8, FULL) == pytest.approx(-2)
    assert cells([item("a", "en", "clean", 3, 1)])["en", "clean"].difference(INT8, FULL) == pytest.approx(2)


@pytest.mark.parametrize(("int8", "open_"), [(1000, True), (1005, True), (1006, False), (10, True)])
def test_the_bound_over_everything(int8: int, open_: bool) -> None:
    found = slices([item("a", "en", "clean", int8, 1000, 1000)])
    assert (not [s for s in failing(INT8, FULL, found) if s.kind == "overall"]) is open_


def test_a_slice_at_its_bound_is_within_and_over_it_is_named() -> None:
    # 3 of 200 words are 1.5 points; over all 400 they are too many, so another language makes up for them.
    at = [item("a", "en", "clean", 13, 10, 200), item("b", "de", "far", 9, 10, 200)]
    assert not failing(INT8, FULL, slices(at))
    over = [item("a", "en", "clean", 14, 10, 200), item("b", "de", "far", 8, 10, 200)]
    assert [(s.kind, s.name) for s in failing(INT8, FULL, slices(over))] == [
        ("language", "en"),
        ("condition", "clean"),
    ]


def run_gate(items: Sequence[Item], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    options = argparse.Namespace(json=None, plot=None)
    status = judge(items, [], options, Console(width=200))
    return status, capsys.readouterr().out


def test_the_gate_shuts_and_names_the_slices(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = run_gate(even(5, 5), capsys)
    assert status == 0 and "the gate is open" in said and "SHUT" not in said
    status, said = run_gate([*even(5, 5), item("c", "fr", "clean", 9, 5)], capsys)
    assert status == 1 and "the gate is SHUT" in said
    assert "SHUT: overall all: +0.80 points, at most 0.5" in said
    assert "SHUT: language fr: +4.00 points, at most 1.5" in said
    assert "language en:" not in said and "condition far:" not in said


def test_a_gate_with_nothing_to_compare_is_no_open_gate(capsys: pytest.CaptureFixture[str]) -> None:
    alone = [Item("a", "en", "clean", 10, {INT8: 1})]
    status, said = run_gate(alone, capsys)
    assert status == 3 and "nothing was judged" in said and "open" not in said
    status, _ = run_gate([], capsys)
    assert status == 2
    with pytest.raises(ValueError, match="nothing has been heard"):
        slices([])


def test_the_interval_of_a_difference() -> None:
    same = [item(f"{i}", "en", "clean", 5, 5) for i in range(30)]
    assert interval(same, INT8, FULL) == (0, 0)
    luck = np.random.default_rng(0)
    noisy = [item(f"{i}", "en", "clean", 5 + int(luck.integers(-3, 6)), 5) for i in range(200)]
    low, high = interval(noisy, INT8, FULL)
    points = slices(noisy)[0].difference(INT8, FULL)
    assert low < points < high
    # Three standard deviations of a mean of 200 uniform draws from -3 to 5 are half a point.
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(80 / 12 / 200), rel=0.2)
    assert interval(noisy, INT8, FULL) == (low, high)
    # Conditions of a clip are no evidence of their own.
    twice = [item(f"{i}", "en", c, 5 + int(i) % 3, 5) for i in range(30) for c in ("clean", "far")]
    once = [item(f"{i}", "en", "clean", 5 + int(i) % 3, 5) for i in range(30)]
    assert interval(twice, INT8, FULL) == pytest.approx(interval(once, INT8, FULL))


def test_word_errors() -> None:
    assert errors(["turn", "left", "now"], ["turn", "right", "now"]) == 1
    assert errors(["turn", "left", "now"], []) == 3
    assert errors(["turn", "left"], ["please", "turn", "left", "now"]) == 2


# --- words and their confidence -------------------------------------------------------------------------------


def test_tokens_of_words() -> None:
    assert spans([b" Turn", b" l", b"eft", b"."]) == [("Turn", (0,)), ("left.", (1, 2))]
    # A character of two tokens; a token over a space; punctuation alone is no word.
    assert spans([b" \xd0", b"\xb8 ", b"d", b" -", b" a b"]) == [
        ("и", (0, 1)),
        ("d", (2,)),
        ("a", (4,)),
        ("b", (4,)),
    ]
    assert spans([]) == []


def test_words_that_were_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy_score, "normaliser", lambda _: lambda text: text.lower().strip(" ."))
    pieces = {1: b" Turn", 2: b" l", 3: b"oft", 4: b" now", 5: b"."}
    heard = Heard("Turn loft now.", (1, 2, 3, 4, 5), (-0.1, -0.2, -0.7, -0.3, -9.0))
    found = judged(heard, "turn left now", "en", lambda token: pieces[token])
    assert [(w.text, w.logprobs, w.right) for w in found] == [
        ("Turn", (-0.1,), True),
        ("loft", (-0.2, -0.7), False),
        ("now.", (-0.3,), True),
    ]
    # A text that its tokens do not spell (repetitions were taken out), or none: no words.
    other = Heard("Turn.", (1, 2), (-0.1, -0.2))
    assert judged(other, "turn", "en", lambda token: pieces[token]) == []
    assert judged(Heard("", (1,), (-3.0,), refused="silence"), "turn", "en", lambda t: pieces[t]) == []


def test_a_logistic_fit_finds_its_constants() -> None:
    luck = np.random.default_rng(0)
    features = luck.normal(size=(20000, 2))
    truth = np.array([0.5, 1.5, -0.8])
    right = (luck.uniform(size=20000) < logistic(truth, features)).astype(float)
    found = fit_logistic(features, right)
    assert found == pytest.approx(truth, abs=0.1)
    confidence = logistic(found, features)
    assert calibration_error(confidence, right) < 0.02
    assert calibration_error(np.sqrt(confidence), right) > 0.1


def test_divergence_of_known_distributions() -> None:
    same = np.log(np.array([[0.5, 0.5], [0.9, 0.1]], np.float32))
    other = np.log(np.array([[0.5, 0.5], [0.5, 0.5]], np.float32))
    assert divergence(same, same).tolist() == [0, 0]
    assert divergence(same, other) == pytest.approx([0, 0.9 * math.log(1.8) + 0.1 * math.log(0.2)])


def test_isotonic_steps_rise() -> None:
    xs, ys = fit_isotonic(np.array([3.0, 1.0, 2.0, 4.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert (np.diff(ys) >= 0).all()
    assert np.interp([1.0, 2.0, 3.0, 4.0], xs, ys).tolist() == [0.0, 0.5, 0.5, 1.0]


def test_calibration_error_and_area_of_known_answers() -> None:
    sure = np.array([0.95, 0.95, 0.05, 0.05])
    assert calibration_error(sure, np.array([1.0, 1.0, 0.0, 0.0])) == pytest.approx(0.05)
    assert calibration_error(sure, np.array([0.0, 0.0, 1.0, 1.0])) == pytest.approx(0.95)
    assert calibration_error(np.array([1.0]), np.array([1.0])) == 0
    assert area(sure, np.array([1.0, 1.0, 0.0, 0.0])) == 1
    assert area(sure, np.array([1.0, 0.0, 1.0, 0.0])) == 0.5
    assert math.isnan(area(sure, np.ones(4)))


def test_a_clip_is_in_one_fold() -> None:
    clips = [f"clip {i % 20}" for i in range(160)]
    found = folds(clips)
    for name in set(clips):
        assert len({int(fold) for fold, clip in zip(found, clips, strict=True) if clip == name}) == 1
    assert set(found.tolist()) == {0, 1, 2, 3, 4}


def test_results_are_json_lines(tmp_path: Path) -> None:
    with Results(tmp_path, contender()) as kept:
        kept.add("aa", HEARD)
    (line,) = kept.path.read_text().splitlines()
    assert json.loads(line)["text"] == "Turn left." and json.loads(line)["audio"] == "aa"
