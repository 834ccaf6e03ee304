"""Make tests/data/logit_reference.npz: what CTranslate2 computes in float32 for the sample clip with base.

    python tests/data/make_logit_reference.py FOLDER     # a CTranslate2 folder of base, as faster-whisper takes it

Needs ctranslate2 and faster-whisper (for its features), and nothing of this project. Over the full 30 s, greedy,
it keeps of each step the log-probabilities of the 20 best tokens.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ctranslate2
import numpy as np
import soundfile
from faster_whisper.feature_extractor import FeatureExtractor

HERE = Path(__file__).parent
PROMPT = [50258, 50259, 50359, 50363]  # start of transcript, en, transcribe, no timestamps
BEST = 20


def main() -> None:
    """Write the file."""
    model = ctranslate2.models.Whisper(sys.argv[1], device="cpu", compute_type="float32")
    audio, _ = soundfile.read(HERE / "sample.wav", dtype="float32")
    padded = np.concatenate([audio, np.zeros(480_000 - len(audio), np.float32)])
    features = FeatureExtractor()(padded, padding=0)[:, :3000].astype(np.float32)
    result = model.generate(
        ctranslate2.StorageView.from_array(np.ascontiguousarray(features[None])),
        [PROMPT],
        beam_size=1,
        suppress_blank=False,
        suppress_tokens=[],
        return_logits_vocab=True,
    )[0]
    logits = np.stack([np.array(step, np.float32) for step in result.logits[0]])
    logprobs = (
        logits
        - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        - logits.max(1, keepdims=True)
    )
    best = np.argsort(-logprobs, axis=1)[:, :BEST]
    np.savez_compressed(
        HERE / "logit_reference.npz",
        tokens=np.array(result.sequences_ids[0]),
        best=best.astype(np.int32),
        logprobs=np.take_along_axis(logprobs, best, axis=1),
        mel=features[:, :350:7],
    )
    print(result.sequences_ids[0], logprobs.shape)


if __name__ == "__main__":
    main()
