"""When words are spoken: against faster-whisper's times for the same clips (tests/data/make_word_reference.py)."""

from __future__ import annotations

import difflib
import json
from typing import Any

import numpy as np
import pytest
from daemon_process import DaemonProcess
from speech import COMMITTED, DATA, Clip, pocketsphinx, shared, words
from whisperd.audio.files import read_audio
from wire_talk import WireTalk

REFERENCE: dict[str, list[tuple[str, float, float]]] = json.loads(
    (DATA / "word_reference.json").read_text("utf-8")
)["clips"]
Spoken = tuple[str, float, float]


def transcript(talk: WireTalk, clip: Clip, **chosen: Any) -> dict[str, Any]:
    kind, data = talk.ask(read_audio(clip.path, 60.0), **chosen)
    assert kind == "transcript", data
    return data


def plain(spoken: list[Spoken]) -> list[Spoken]:
    """Words without case and punctuation; marks alone are none."""
    found = []
    for text, start, end in spoken:
        found += [(word, start, end) for word in words(text)[:1]]
    return found


def pairs(ours: list[Spoken], theirs: list[Spoken]) -> list[tuple[Spoken, Spoken]]:
    """The words that both have, in order."""
    a, b = plain(ours), plain(theirs)
    matcher = difflib.SequenceMatcher(None, [w for w, _, _ in a], [w for w, _, _ in b], autojunk=False)
    return [(a[block.a + k], b[block.b + k]) for block in matcher.get_matching_blocks() for k in range(block.size)]


def test_times_are_those_of_faster_whisper(daemon: DaemonProcess) -> None:
    clips = [*COMMITTED, *shared(), *pocketsphinx()]
    starts, ends, known = [], [], 0
    with WireTalk(daemon) as talk:
        for clip in clips:
            answer = transcript(talk, clip, language="en", word_timestamps=True)
            ours = [(w["word"], w["start"], w["end"]) for s in answer["segments"] for w in s["words"]]
            theirs = REFERENCE[clip.path.name]
            known += len(plain(theirs))
            for mine, other in pairs(ours, theirs):
                starts.append(abs(mine[1] - other[1]))
                ends.append(abs(mine[2] - other[2]))
    assert len(starts) >= 0.85 * known  # or there is nothing to compare
    for apart in (starts, ends):
        assert np.median(apart) <= 0.1
        assert np.percentile(apart, 90) <= 0.1, sorted(apart)[-10:]


def test_the_committed_clips_to_the_tenth(daemon: DaemonProcess) -> None:
    """Where all words are right, and synthetic speech says them clearly."""
    with WireTalk(daemon) as talk:
        for clip in COMMITTED:
            answer = transcript(talk, clip, language="en", word_timestamps=True)
            (segment,) = answer["segments"]
            theirs = REFERENCE[clip.path.name]
            assert [w["word"] for w in segment["words"]] == [word for word, _, _ in theirs]
            assert "".join(w["word"] for w in segment["words"]) == segment["text"]
            for word, (_, start, end) in zip(segment["words"], theirs, strict=True):
                assert word["start"] == pytest.approx(start, abs=0.15)
                assert word["end"] == pytest.approx(end, abs=0.15)


@pytest.mark.parametrize(
    "more", [{}, {"beam_size": 3}, {"without_timestamps": False}, {"initial_prompt": "Hello."}]
)
def test_words_are_the_text_and_follow_each_other(daemon: DaemonProcess, more: dict[str, Any]) -> None:
    clip = COMMITTED[0]
    seconds = len(read_audio(clip.path, 60.0)) / 16_000
    with WireTalk(daemon) as talk:
        answer = transcript(talk, clip, word_timestamps=True, **more)
    found = [word for segment in answer["segments"] for word in segment["words"]]
    assert "".join(word["word"] for word in found).strip() == answer["text"]
    assert words(answer["text"]) == words(clip.text)
    before = 0.0
    for word in found:
        assert before <= word["start"] <= word["end"] <= seconds
        assert 0.0 < word["probability"] <= 1.0
        assert 0.0 <= word["confidence"] <= 1.0
        before = word["end"]


def test_words_come_only_where_they_are_asked_for(daemon: DaemonProcess) -> None:
    with WireTalk(daemon) as talk:
        assert "words" not in transcript(talk, COMMITTED[1])["segments"][0]
        assert transcript(talk, COMMITTED[1], word_timestamps=True)["segments"][0]["words"]
        assert "words" not in transcript(talk, COMMITTED[1], word_timestamps=False)["segments"][0]
