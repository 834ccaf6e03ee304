"""How far the next token's distribution is from float32 over the full 30 s, along what is really said.

Word errors need thousands of words to tell two quantisations apart; this needs some dozen clips. A token's
divergence is the Kullback-Leibler divergence in nats of its distribution from the reference's, after the same
tokens.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from whisperd.speech.attempts import Attempts
from whisperd.speech.bundle import load_manifest
from whisperd.speech.decoding import Decoder
from whisperd.speech.features import LogMel
from whisperd.speech.model import WhisperModel
from whisperd.speech.prompting import start
from whisperd.speech.tokenizer import Tokenizer
from whisperd.speech.types import Float32Array

from .accuracy_runs import FULL, INT8, TAIL

if TYPE_CHECKING:
    from .accuracy import Sample


class Forced:
    """A bundle that is fed given tokens, whatever it would have chosen.

    Args:
        full_context: over 30 s instead of the silent tail.
        together: all tokens in one run with the prompt, as a draft is checked, and not one by one as in a search.
    """

    def __init__(self, bundle: Path, threads: int, *, full_context: bool = False, together: bool = False) -> None:
        manifest = load_manifest(bundle)
        self._model = WhisperModel(bundle, manifest, threads)
        self._attempts = Attempts(self._model, Tokenizer(bundle, manifest.tokens.eot))
        self._mel = LogMel(manifest.dimensions.n_mels)
        self._full, self._together = full_context, together
        self.tokenizer = Tokenizer(bundle, manifest.tokens.eot)

    def __call__(self, sample: Sample, tokens: Sequence[int]) -> Float32Array:
        """Log-probabilities float32[len(tokens) + 1, text tokens] before each token and after the last."""
        manifest, language = self._model.manifest, sample.clip.language
        mel = self._attempts.scaled(self._mel(sample.pcm))
        cross = self._model.encode(self._attempts.pad(mel, full=self._full))
        if self._together:
            found = Decoder(self._model).forced(cross, language, tokens)
        else:
            hypothesis = self._model.start(cross)
            begin = start(manifest.tokens, manifest.multilingual, language, "transcribe")
            rows = [self._model.step(hypothesis, begin.ids)]
            rows += [self._model.step(hypothesis, [token]) for token in tokens]
            found = np.concatenate(rows)
        text = found[:, : manifest.tokens.eot + 1]
        shifted = text - text.max(axis=1, keepdims=True)
        result: Float32Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return result


def divergence(reference: Float32Array, other: Float32Array) -> Float32Array:
    """In nats, of each row of log-probabilities float32[n, tokens] from the same one of the reference."""
    result: Float32Array = (np.exp(reference) * (reference - other)).sum(axis=1)
    return result


def diverge(samples: Sequence[Sample], options: argparse.Namespace, console: Console) -> int:
    """Measure over the last samples of the fair order, which a gate that was broken off has not heard."""
    chosen = samples[-options.divergence :]
    int8 = options.int8 or options.bundles / "base"
    fp32 = options.fp32 or options.bundles / "base-fp32"
    table = Table("", "mean", "p95", "worst", "other best token", "log-probability of what was said")
    reference = Forced(fp32, options.threads, full_context=True)
    tokens = [reference.tokenizer.encode(" " + sample.clip.text) for sample in chosen]
    right = _all(FULL, reference, chosen, tokens, console)
    _row(table, FULL, right, right, tokens)
    others = {
        TAIL: Forced(fp32, options.threads),
        f"{INT8}, token by token": Forced(int8, options.threads),
        f"{INT8}, in one run": Forced(int8, options.threads, together=True),
    }
    for name, forced in others.items():
        _row(table, name, right, _all(name, forced, chosen, tokens, console), tokens)
    table.title = f"divergence from {FULL}, {len(chosen)} clips, {sum(map(len, tokens)) + len(chosen)} tokens"
    console.print(table)
    return 0


def _all(
    name: str, forced: Forced, samples: Sequence[Sample], tokens: Sequence[Sequence[int]], console: Console
) -> list[Float32Array]:
    pairs = track(list(zip(samples, tokens, strict=True)), name, console=console, transient=True)
    return [forced(sample, of_it) for sample, of_it in pairs]


def _row(
    table: Table,
    name: str,
    reference: Sequence[Float32Array],
    other: Sequence[Float32Array],
    tokens: Sequence[Sequence[int]],
) -> None:
    nats = np.concatenate([divergence(a, b) for a, b in zip(reference, other, strict=True)])
    flips = sum(int((a.argmax(1) != b.argmax(1)).sum()) for a, b in zip(reference, other, strict=True))
    said = np.concatenate([b[np.arange(len(t)), list(t)] for b, t in zip(other, tokens, strict=True)])
    figures = (nats.mean(), np.quantile(nats, 0.95), nats.max())
    table.add_row(name, *(f"{figure:.4f}" for figure in figures), str(flips), f"{said.mean():.3f}")
