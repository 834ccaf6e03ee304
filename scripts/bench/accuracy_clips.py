"""The clips that accuracy is measured on: what is said in them, and where they come from.

`accuracy_clips.tsv` names them. Recordings of people come from packages of Debian, sentences are synthesised; the
repository has their names and the sentences, and no audio.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import speech
from whisperd.audio.files import read_audio
from whisperd.audio.pcm import SAMPLE_RATE, Int16Samples

LISTING = Path(__file__).with_name("accuracy_clips.tsv")
SOUNDS = Path("/usr/share/asterisk/sounds")
#: Debian's names of the recordings' voices.
VOICES = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
LISTINGS = "/usr/share/doc/asterisk-core-sounds-{0}/core-sounds-{0}.txt.gz"
INSTALL = (
    "apt install --no-install-recommends pocketsphinx-testdata flite "
    "asterisk-core-sounds-{en,es,fr,it,ru} asterisk-core-sounds-{en,es,fr,it,ru}-g722"
)
SYNTHESIS_SECONDS = 60.0
PICO = """
import sys, soundfile, numpy, py_nanotts
path, voice, text = sys.argv[1:]
code, speed, pitch = voice.split(",")
said = py_nanotts.NanoTTS().speak(text, voice=code, speed=float(speed), pitch=float(pitch))
soundfile.write(path, numpy.frombuffer(said, "<i2"), 16000, subtype="PCM_16")
"""
LONGEST_S = 30.0


class ClipsError(Exception):
    """A clip cannot be had, or the listing is wrong: what, where, and what to install."""


@dataclass(frozen=True)
class Entry:
    """A line of the listing."""

    language: str
    source: str
    what: str
    line: int

    @property
    def name(self) -> str:
        """Names the clip in results and messages; the sentences are many and alike, so by their line."""
        synthetic = ":" in self.source
        return f"{self.language}/{self.source}/{f'line-{self.line}' if synthetic else self.what}"


@dataclass(frozen=True)
class Clip:
    """A clip as it comes: int16[n] at 16 kHz mono, and the words in it."""

    name: str
    language: str
    text: str
    pcm: Int16Samples
    human: bool


def entries(listing: Path = LISTING) -> list[Entry]:
    """The listing's lines, in its order.

    Raises:
        ClipsError: a line that is none.
    """
    found = []
    for number, line in enumerate(listing.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 3 or not all(fields):
            raise ClipsError(f"{listing}:{number} is not a language, a source and what, with tabs between them")
        found.append(Entry(fields[0], fields[1], fields[2], number))
    return found


def gather(wanted: Sequence[Entry]) -> tuple[list[Clip], dict[str, str]]:
    """Read or synthesise the clips.

    Returns:
        Those that can be had, in the listing's order; and for each that cannot, by name, why.
    """
    clips, missing = [], {}
    for entry in wanted:
        try:
            clips.append(_clip(entry))
        except ClipsError as error:
            missing[entry.name] = str(error)
    return clips, missing


def fingerprint(pcm: Int16Samples) -> str:
    """What tells apart the samples that a result is for: 16 hexadecimal digits."""
    return hashlib.sha256(pcm.astype("<i2").tobytes()).hexdigest()[:16]


def _clip(entry: Entry) -> Clip:
    source, _, voice = entry.source.partition(":")
    makers: dict[str, Callable[[Entry, str], Clip]] = {
        "tests": _of_tests,
        "asterisk": _recording,
        "flite": _synthetic,
        "pico": _synthetic,
    }
    if source not in makers:
        raise ClipsError(f"{LISTING}:{entry.line} has an unknown source {entry.source!r}")
    return makers[source](entry, voice)


def _of_tests(entry: Entry, _: str) -> Clip:
    known = {clip.name: clip for clip in (*speech.COMMITTED, *speech.pocketsphinx())}
    if entry.what not in known:
        raise ClipsError("pocketsphinx-testdata is not installed")
    clip = known[entry.what]
    human = clip not in speech.COMMITTED
    return Clip(entry.name, entry.language, clip.text, read_audio(clip.path, LONGEST_S), human)


def _recording(entry: Entry, _: str) -> Clip:
    package = f"asterisk-core-sounds-{entry.language}"
    said, folder = _said(entry.language), SOUNDS / VOICES[entry.language]
    if not said or not folder.is_dir():
        raise ClipsError(f"{package} or {package}-g722 is not installed")
    text, path = said.get(entry.what), folder / f"{entry.what}.g722"
    if text is None or not path.is_file():
        raise ClipsError(f"{package} is installed, but has no {entry.what}")
    return Clip(entry.name, entry.language, text, decode_g722(path), True)


def decode_g722(path: Path) -> Int16Samples:
    """Samples of a raw G.722 file, which has 16 kHz and no header."""
    import av

    with av.open(str(path), format="g722") as container:
        frames: Iterator[Any] = container.decode(audio=0)
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(np.int16)


@cache
def _said(language: str) -> dict[str, str]:
    """What is said in each of a language's recordings."""
    listing = Path(LISTINGS.format(language))
    if not listing.is_file():
        return {}
    raw = gzip.decompress(listing.read_bytes())
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("cp1252")
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith(";"))
    return {name.strip(): said.strip() for name, colon, said in pairs if colon}


def _synthetic(entry: Entry, voice: str) -> Clip:
    program = entry.source.partition(":")[0]
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "x.wav"
        if program == "pico":
            # A process each: what the voice says depends on what it has said before.
            command = [sys.executable, "-c", PICO, str(wav), voice, entry.what]
        elif shutil.which(program):
            command = [program, "-voice", voice, "-t", entry.what, "-o", str(wav)]
        else:
            raise ClipsError(f"{program} is not installed")
        done = subprocess.run(command, capture_output=True, text=True, timeout=SYNTHESIS_SECONDS, check=False)
        if done.returncode or not wav.is_file():
            raise ClipsError(f"{program} failed with {done.returncode}: {done.stderr.strip()[-200:]}")
        pcm = read_audio(wav, LONGEST_S)
    return Clip(entry.name, entry.language, entry.what, _level(pcm), False)


def _level(pcm: Int16Samples) -> Int16Samples:
    """A peak of -6 dBFS, as tests/data has."""
    peak = max(1, int(np.abs(pcm.astype(np.int32)).max()))
    return np.rint(pcm.astype(np.float64) * (0.5 * 32767 / peak)).astype(np.int16)


def seconds(clip: Clip) -> float:
    """Length of a clip."""
    return len(clip.pcm) / SAMPLE_RATE


def tell_missing(missing: dict[str, str], console: Any) -> None:
    """Say loudly that the set is smaller, why, and what to do about it."""
    reasons: dict[str, int] = {}
    for reason in missing.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    console.print(f"[bold red]{len(missing)} CLIPS ARE MISSING, the figures are of a smaller set:[/]")
    for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1])[:12]:
        console.print(f"  {count:3} clips: {reason}", highlight=False)
    console.print(f"  for all of them: {INSTALL}", highlight=False)
