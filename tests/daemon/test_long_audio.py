"""Long clips: of sentences in random order with random pauses, none is lost at a joint, and none comes twice.

What each clip has as a text when it comes alone counts as its text: what is judged here is what becomes of it in
between others. LONG_AUDIO_MINUTES in the environment is how long the first of them is: 4, or 60 for an hour.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from daemon_process import DaemonProcess
from speech import COMMITTED, pocketsphinx, shared, words
from whisperd.audio.files import read_audio
from wire_talk import WireTalk

MINUTES = float(os.environ.get("LONG_AUDIO_MINUTES") or 4)
PAUSES_S = (0.2, 0.3, 0.5, 0.8, 1.5, 3.0, 8.0)
#: So many words in a row, and a part of a sentence is lost or comes twice; fewer are words that are misheard.
RUN = 4
RATE = 16_000


@dataclass(frozen=True)
class Sentence:
    """A clip and its text."""

    pcm: np.ndarray
    text: str


@pytest.fixture(scope="module")
def daemon(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """One that takes clips of any length here."""
    longest = str(round(60 * MINUTES + 600))
    limits = ("WHISPERD_LIMITS_MAX_CLIP_SECONDS", "WHISPERD_LIMITS_MAX_BUFFERED_SECONDS")
    with DaemonProcess(base, tmp_path_factory.mktemp("daemon"), dict.fromkeys(limits, longest)) as running:
        yield running


@pytest.fixture(scope="module")
def sentences(daemon: DaemonProcess) -> list[Sentence]:
    clips = [*COMMITTED, *shared(), *(clip for clip in pocketsphinx() if "sense" in clip.name)]
    found = []
    with WireTalk(daemon) as talk:
        for clip in clips:
            pcm = read_audio(clip.path, 60.0)
            found.append(Sentence(pcm, talk.ask(pcm, language="en")[1]["text"]))
    return found


def recording(sentences: list[Sentence], minutes: float, seed: int) -> tuple[np.ndarray, list[str]]:
    """Sentences in random order over a faint noise, and the words of all of them."""
    luck, noise = random.Random(seed), np.random.default_rng(seed)
    parts, said, samples = [], [], 0
    while samples < minutes * 60 * RATE:
        sentence = luck.choice(sentences)
        pause = noise.normal(0, 8, int(luck.choice(PAUSES_S) * RATE * luck.uniform(0.7, 1.3))).astype(np.int16)
        parts += [sentence.pcm, pause]
        samples += len(sentence.pcm) + len(pause)
        said += words(sentence.text)
    return np.concatenate(parts), said


def differences(said: list[str], heard: list[str]) -> tuple[list[str], int]:
    """Stretches of `RUN` words and more that are lost or come twice, and the number of all words that differ."""
    found = jiwer.process_words(" ".join(said), " ".join(heard))
    runs, wrong = [], 0
    for chunk in found.alignments[0]:
        there = said[chunk.ref_start_idx : chunk.ref_end_idx]
        here = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        wrong += 0 if chunk.type == "equal" else max(len(there), len(here))
        if chunk.type in ("delete", "insert") and max(len(there), len(here)) >= RUN:
            place = " ".join(said[max(0, chunk.ref_start_idx - RUN) : chunk.ref_start_idx])
            runs.append(f"after ...{place!r} {chunk.type} {' '.join(there or here)!r}")
    return runs, wrong


def transcribe(daemon: DaemonProcess, pcm: np.ndarray, **chosen: Any) -> dict[str, Any]:
    with WireTalk(daemon) as talk:
        # The bound of a wait, not of what is good: a busy PC may take as long as the clip lasts.
        kind, data = talk.ask(pcm, 60 + len(pcm) / RATE, language="en", priority="file", **chosen)
    assert kind == "transcript", data
    return data


@pytest.mark.parametrize(
    ("minutes", "seed", "chosen"),
    [
        (MINUTES, 1, {}),
        (2.0, 2, {"word_timestamps": True}),
        (2.0, 3, {"beam_size": 2}),
    ],
    ids=str,
)
def test_no_sentence_is_lost_and_none_comes_twice(
    daemon: DaemonProcess, sentences: list[Sentence], minutes: float, seed: int, chosen: dict[str, Any]
) -> None:
    pcm, said = recording(sentences, minutes, seed)
    answer = transcribe(daemon, pcm, **chosen)
    runs, wrong = differences(said, words(answer["text"]))
    assert runs == []
    assert wrong <= 0.03 * len(said), f"{wrong} of {len(said)} words differ"
    in_order(answer, len(pcm) / RATE)


def in_order(answer: dict[str, Any], seconds: float) -> None:
    """Segments, and words where there are some, follow each other within the clip, and are the text."""
    segments = answer["segments"]
    assert "".join(segment["text"] for segment in segments).strip() == answer["text"]
    # Times are rounded to milliseconds.
    before = 0.0
    for segment in segments:
        assert before - 2e-3 <= segment["start"] <= segment["end"] <= seconds + 2e-3
        before = segment["end"]
    if "words" not in segments[0]:
        return
    before = 0.0
    for segment in segments:
        assert "".join(word["word"] for word in segment["words"]) == segment["text"]
        for word in segment["words"]:
            assert before - 2e-3 <= word["start"] <= word["end"] <= seconds + 2e-3
            before = word["end"]


def test_text_so_far_as_a_prompt(daemon: DaemonProcess, sentences: list[Sentence]) -> None:
    """It may make the decoder repeat what it has read, so it is off; but times and words are in order."""
    pcm, said = recording(sentences, 1.2, 4)
    answer = transcribe(daemon, pcm, condition_on_previous_text=True, word_timestamps=True)
    assert len(set(words(answer["text"])) & set(said)) >= 0.9 * len(set(said))
    in_order(answer, len(pcm) / RATE)


def test_sentences_are_where_they_are_said(daemon: DaemonProcess, sentences: list[Sentence]) -> None:
    """By the words' times: each sentence's first and last words lie in its own stretch of the recording."""
    sample, command = sentences[:2]
    pause = np.zeros(2 * RATE, np.int16)
    order = [sample, command] * 7
    pcm = np.concatenate([part for sentence in order for part in (sentence.pcm, pause)])
    answer = transcribe(daemon, pcm, word_timestamps=True)
    spoken = [word for segment in answer["segments"] for word in segment["words"]]
    at = samples = 0
    for sentence in order:
        count = len(sentence.text.split())
        own, at = spoken[at : at + count], at + count
        heard, there = words("".join(word["word"] for word in own)), words(sentence.text)
        # A word in between may be misheard.
        assert (heard[:2], heard[-1], len(heard)) == (there[:2], there[-1], len(there))
        start, end = samples / RATE, (samples + len(sentence.pcm)) / RATE
        assert own[0]["start"] >= start - 0.5
        assert own[-1]["end"] <= end + 0.5
        samples += len(sentence.pcm) + len(pause)
    assert at == len(spoken)


def test_a_file_may_be_of_stretches(daemon: DaemonProcess, sentences: list[Sentence]) -> None:
    sample, command = sentences[:2]
    pause = np.zeros(RATE, np.int16)
    pcm = np.concatenate([sample.pcm, pause, command.pcm, pause, sample.pcm])
    starts = np.cumsum([0, len(sample.pcm), RATE, len(command.pcm), RATE]) / RATE
    answer = transcribe(daemon, pcm, clip_timestamps=[float(starts[2]) - 0.2, float(starts[3]) + 0.2])
    assert words(answer["text"]) == words(command.text)
    first = transcribe(daemon, pcm, clip_timestamps=[0, float(starts[1]) + 0.2])
    assert words(first["text"]) == words(sample.text)
