"""Make tests/data/word_reference.json: when faster-whisper says that the words of some clips are spoken.

    python tests/data/make_word_reference.py MODEL [FOLDER ...]

MODEL is a CTranslate2 folder of base, as faster-whisper takes it. The clips are the committed ones, those of
Debian's pocketsphinx-testdata, where it is installed, and those of the folders that are named. Needs
faster-whisper, whose version and settings go into the file.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import ctranslate2
from faster_whisper import WhisperModel

HERE = Path(__file__).parent
FOLDERS = (HERE, Path("/usr/share/pocketsphinx/test/data"))
SETTINGS = {"language": "en", "beam_size": 1, "temperature": 0.0, "word_timestamps": True}


def main() -> None:
    """Write the file."""
    model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8")
    clips: dict[str, list[list[object]]] = {}
    for folder in (*FOLDERS, *map(Path, sys.argv[2:])):
        for path in sorted(folder.rglob("*.wav")):
            segments, _ = model.transcribe(str(path), **SETTINGS)
            clips[path.name] = [
                [word.word, round(float(word.start), 2), round(float(word.end), 2)]
                for segment in segments
                for word in segment.words or ()
            ]
            print(path.name, len(clips[path.name]))
    made_by = {"faster-whisper": version("faster-whisper"), "ctranslate2": ctranslate2.__version__}
    head = json.dumps({"made_by": {**made_by, "compute_type": "int8", **SETTINGS}})[:-1]
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(words, ensure_ascii=False)}" for name, words in clips.items()
    )
    (HERE / "word_reference.json").write_text(f'{head}, "clips": {{\n{lines}\n}}}}\n', "utf-8")


if __name__ == "__main__":
    main()
