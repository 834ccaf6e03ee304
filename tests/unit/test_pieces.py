"""Recordings of any length: cut at pauses, in bounded memory, and put together again."""

from __future__ import annotations

import io
import itertools
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from whisperd.audio.files import BLOCK_FRAMES, MAX_BYTES, AudioFile, open_audio, read_audio
from whisperd.audio.pieces import Piece, join, joined_text, pieces, within
from whisperd.errors import AudioTooLong, BadAudio
from whisperd.speech.types import DOUBTFUL, NO_VOICE, SILENCE, Segment, Timings, Transcription, Word
from whisperd.utterance import Utterance

RATE = 16_000
Int16 = npt.NDArray[np.int16]


def noise(seconds: float, seed: int = 1) -> Int16:
    return np.random.default_rng(seed).integers(-8000, 8000, round(seconds * RATE), np.int16)


def assert_is(found: list[Piece], pcm: Int16, longest_s: float) -> None:
    assert [piece.offset for piece in found] == [0, *itertools.accumulate(len(p.pcm) for p in found)][:-1]
    assert all(0 < len(piece.pcm) <= longest_s * RATE for piece in found)
    assert np.array_equal(np.concatenate([piece.pcm for piece in found]), pcm)


# --- cuts -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 40_000), max_size=12), st.floats(1.0, 4.0), st.integers(0, 9))
def test_pieces_end_to_end_are_the_recording(sizes: list[int], longest_s: float, seed: int) -> None:
    pcm = noise(sum(sizes) / RATE, seed)
    blocks = np.split(pcm, list(itertools.accumulate(sizes))[:-1]) if sizes else []
    found = list(pieces(blocks, longest_s))
    if len(pcm):
        assert_is(found, pcm, longest_s)
        # None is short but the last: a cut is looked for in the last third alone.
        assert all(len(piece.pcm) >= int(longest_s * RATE) * 2 // 3 for piece in found[:-1])
        assert (len(found) > 1) == (len(pcm) > int(longest_s * RATE))
    else:
        assert found == []


def test_what_fits_is_one_piece() -> None:
    pcm = noise(10)
    assert [(p.offset, p.offset_s, p.end_s) for p in pieces([pcm], 10.0)] == [(0, 0.0, 10.0)]
    assert len(list(pieces([pcm, pcm[:1]], 10.0))) == 2


def test_cuts_are_in_the_middle_of_pauses() -> None:
    pcm = noise(60)
    for start in (8.0, 17.5, 25.0, 33.3, 42.0, 51.0):  # 0.4 s of near silence each
        pcm[round(start * RATE) : round((start + 0.4) * RATE)] //= 1000
    found = list(pieces([pcm], 10.0))
    assert_is(found, pcm, 10.0)
    assert [p.offset_s for p in found[1:]] == pytest.approx([8.2, 17.7, 25.2, 33.5, 42.2, 51.2], abs=0.06)


def test_pieces_of_less_than_a_second_are_refused() -> None:
    for longest in (0.0, 0.99, float("nan")):
        with pytest.raises(ValueError, match="pieces of"):
            next(pieces([noise(1)], longest))


def test_a_piece_is_given_before_the_next_is_read() -> None:
    def blocks() -> Iterator[Int16]:
        yield noise(12)
        raise BadAudio("the rest is gone")

    found = pieces(blocks(), 10.0)
    assert next(found).offset == 0
    with pytest.raises(BadAudio, match="the rest is gone"):
        next(found)


@given(
    st.lists(st.integers(0, 100), max_size=9, unique=True).map(sorted),
    st.lists(st.integers(1, 99), max_size=5, unique=True).map(sorted),
)
def test_stretches_in_pieces_are_the_stretches_of_the_whole(times: list[int], cuts: list[int]) -> None:
    def meant(times: list[float], length: int) -> set[int]:
        """The seconds that are meant."""
        pairs = zip(times[::2], [*times[1::2], length], strict=False)
        return {second for start, end in pairs for second in range(round(start), min(round(end), length))}

    found: set[int] = set()
    for start, end in itertools.pairwise([0, *cuts, 100]):
        part = within(times, start, end)
        assert part == sorted(set(part)) and all(0 <= time <= end - start for time in part)
        found |= {second + start for second in meant(part, end - start)} if part else set()
    assert found == (meant([float(time) for time in times], 100) if times else set())


# --- files ------------------------------------------------------------------------------------------------


def stored(pcm: npt.NDArray[Any], rate: int, path: Path, **kind: Any) -> Path:
    soundfile.write(path, pcm, rate, **kind)
    return path


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_pieces_of_a_file_are_what_the_whole_file_reads_as(kind: str, tmp_path: Path) -> None:
    if kind not in soundfile.available_formats():
        pytest.skip("libsndfile without MP3")  # it reads them from 1.1 on; the target's is 1.0.31
    stereo = np.stack([noise(65)[::2], noise(65, 2)[::2]], axis=1)
    path = stored(stereo, 22_050, tmp_path / "talk", format=kind)
    with open_audio(path) as audio:
        assert (audio.seconds is None) == (kind == "MP3")
        found = list(pieces(audio.blocks(), 5.0))
    assert_is(found, read_audio(path, 600), 5.0)
    assert len(found) > 3


def test_a_flac_whose_length_is_unknown(tmp_path: Path) -> None:
    """As an encoder leaves it that writes into a pipe: the count in its header is 0."""
    path = stored(noise(20), RATE, tmp_path / "talk.flac", subtype="PCM_16")
    data = bytearray(path.read_bytes())
    assert data[:4] == b"fLaC"
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    with open_audio(path) as audio:
        assert audio.seconds is None
        assert_is(list(pieces(audio.blocks(), 6.0)), noise(20), 6.0)


def test_a_pipe_is_kept_in_memory_and_bounded() -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(7), RATE, format="WAV")
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(file.getvalue())

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as pipe, open_audio(pipe) as audio:
        assert_is(list(pieces(audio.blocks(), 2.0)), noise(7), 2.0)
    writer.join()

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    with pytest.raises(AudioTooLong, match=f"more than {MAX_BYTES >> 20} MiB"), open_audio(Endless()):
        pass


def test_an_error_in_the_middle_names_the_second(tmp_path: Path) -> None:
    path = stored(noise(30), RATE, tmp_path / "talk.flac", subtype="PCM_16")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    given: list[Piece] = []
    with open_audio(path) as audio, pytest.raises(BadAudio) as refused:
        given.extend(pieces(audio.blocks(), 5.0))
    assert f"{path} " in refused.value.text
    second = float(
        refused.value.text.partition(" at ")[2].split()[0]
        if " at " in refused.value.text
        else refused.value.text.partition(" from ")[2].split()[0]
    )
    assert 10 < second < 16


def test_a_read_error_names_the_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = stored(noise(30), RATE, tmp_path / "talk.wav")
    with open_audio(path) as audio:
        original, calls = audio._file.read, itertools.count()

        def read(*arguments: Any, **named: Any) -> Any:
            if next(calls) == 2:
                raise soundfile.LibsndfileError(2)
            return original(*arguments, **named)

        monkeypatch.setattr(audio._file, "read", read)
        with pytest.raises(BadAudio, match=f"cannot be decoded from {2 * BLOCK_FRAMES / RATE:.3f} s on: "):
            list(pieces(audio.blocks(), 60.0))


def test_an_hour_takes_the_memory_of_a_piece(tmp_path: Path) -> None:
    """Of what Python and numpy allocate: the samples of the whole would be 115 MB."""
    path = tmp_path / "hour.flac"
    minute = np.stack([noise(60), noise(60, 2)], axis=1)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for _ in range(60):
            file.write(minute)
    piece_s = 60.0
    seconds, count = 0.0, 0
    tracemalloc.start()
    try:
        with open_audio(path) as audio:
            assert audio.seconds == 3600.0
            for piece in pieces(audio.blocks(), piece_s):
                assert piece.offset_s == seconds
                seconds, count = piece.end_s, count + 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds == 3600.0 and count >= 60
    assert peak < 16e6


def test_a_limit_holds_for_files_without_a_length() -> None:
    """`open_audio` without one has none; `read_audio` refuses as before."""
    file = io.BytesIO()
    soundfile.write(file, noise(3), RATE, format="WAV")
    with pytest.raises(AudioTooLong, match="3 s long; at most 2 s"):
        read_audio(file.getvalue(), 2)
    with open_audio(file.getvalue()) as audio:
        assert isinstance(audio, AudioFile) and audio.seconds == 3.0


# --- answers ----------------------------------------------------------------------------------------------


def said(text: str, seconds: float = 10.0, **other: Any) -> Transcription:
    words = (Word(1.0, 2.0, f" {text}", (1,), 0.5, 0.6),)
    segments = (Segment(0.5, 2.5, f" {text}", (1,), -0.2, 0.1, words=words),) if text else ()
    fields: dict[str, Any] = {"timings": Timings(1.0, 2.0, 3.0), "fallbacks": 1, **other}
    return Transcription(text, fields.pop("language", "en"), seconds, segments, **fields)


def test_joined_pieces_are_one_transcription() -> None:
    first = said("", 20.0, no_speech=SILENCE, language="en")
    second = said("Hallo", 30.0, confidence=0.9, language="de", languages=(("de", 0.8), ("en", 0.1)))
    third = said("Welt", 10.0, confidence=0.5, language="nl")
    whole = join([(0.0, first), (20.0, second), (50.0, third)])
    assert whole.text == "Hallo Welt"
    assert (whole.language, whole.languages) == ("de", (("de", 0.8), ("en", 0.1)))
    assert (whole.audio_s, whole.fallbacks, whole.no_speech) == (60.0, 3, "")
    assert whole.timings == Timings(3.0, 6.0, 9.0)
    assert whole.confidence == pytest.approx((0.9 * 30 + 0.5 * 10) / 40)
    assert [(s.start_s, s.end_s, s.text) for s in whole.segments] == [
        (20.5, 22.5, " Hallo"),
        (50.5, 52.5, " Welt"),
    ]
    assert [(w.start_s, w.end_s) for s in whole.segments for w in s.words] == [(21.0, 22.0), (51.0, 52.0)]


def test_one_piece_is_itself() -> None:
    piece = said("Hello", confidence=0.5, languages=(("en", 0.9),))
    assert join([(0.0, piece)]) == piece


@pytest.mark.parametrize(
    ("reasons", "reason"),
    [((NO_VOICE, NO_VOICE), NO_VOICE), ((NO_VOICE, SILENCE), SILENCE), ((DOUBTFUL, NO_VOICE), DOUBTFUL)],
)
def test_why_no_piece_has_a_text(reasons: tuple[str, ...], reason: str) -> None:
    whole = join([(10.0 * i, said("", no_speech=why)) for i, why in enumerate(reasons)])
    assert (whole.text, whole.no_speech, whole.confidence) == ("", reason, 0.0)


def test_nothing_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="nothing to join"):
        join([])


def test_languages_without_spaces_get_none() -> None:
    assert joined_text([("你好", "zh"), ("", "zh"), ("世界", "zh"), ("hello", "en"), ("there", None)]) == (
        "你好世界 hello there"
    )


def test_windows_of_an_utterance_are_joined_the_same() -> None:
    """The times of words move with those of their segments."""
    utterance = Utterance(0, start=1000, window=1000 + 20 * RATE)
    utterance.parts.append((1000, said("one", 20.0, confidence=0.9)))
    whole = utterance.joined(said("two", confidence=0.6))
    assert (whole.text, whole.audio_s, whole.timings) == ("one two", 30.0, Timings(1.0, 2.0, 3.0))
    assert [(w.start_s, w.end_s) for s in whole.segments for w in s.words] == [(1.0, 2.0), (21.0, 22.0)]
    assert whole.confidence == pytest.approx(0.8)
