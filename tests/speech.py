"""Real and synthetic speech with known text, and the count of word errors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import jiwer

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared" / "speech"
POCKETSPHINX = Path("/usr/share/pocketsphinx/test/data")

#: Numbers as Whisper writes them, and as the transcripts do.
_NUMBERS = {"4": "four", "5": "five", "7": "seven", "8": "eight", "10": "ten"}


@dataclass(frozen=True)
class Clip:
    """A file and what is said in it."""

    path: Path
    text: str
    rate: int = 16_000

    @property
    def name(self) -> str:
        return self.path.stem


COMMITTED = (
    Clip(DATA / "sample.wav", "how long will it take to drive to the airport in this traffic"),
    Clip(DATA / "command.wav", "turn on the air conditioning"),
)


def shared() -> list[Clip]:
    """Recordings of people beside the clone, where there are any."""
    text = (
        "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
    )
    return [clip for clip in (Clip(SHARED / "jfk.wav", text),) if clip.path.is_file()]


def pocketsphinx() -> list[Clip]:
    """Debian's pocketsphinx-testdata: LibriVox sentences and playing cards, where it is installed."""
    clips = []
    for folder, transcription in (("librivox", "transcription"), ("cards", "cards.transcription")):
        listing = POCKETSPHINX / folder / transcription
        for line in listing.read_text().splitlines() if listing.is_file() else ():
            text, _, name = line.rpartition("(")
            said = text.replace("<s>", "").replace("</s>", "").replace("more a amiable", "more amiable").strip()
            clips.append(Clip(POCKETSPHINX / folder / f"{name.rstrip(') ')}.wav", said))
    return clips


def words(text: str) -> list[str]:
    """Lower case, without punctuation, numbers and titles spelled out."""
    plain = re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("mr.", "mister").replace("-", " "))
    return [_NUMBERS.get(word, word) for word in plain.split()]


def word_errors(reference: str, hypothesis: str) -> int:
    """Words to substitute, insert and delete."""
    found = jiwer.process_words(" ".join(words(reference)), " ".join(words(hypothesis)) or "-")
    return int(found.substitutions + found.insertions + found.deletions)
