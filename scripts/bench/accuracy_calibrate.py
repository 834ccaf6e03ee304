"""From log-probabilities to confidence: fit, judge and draw how often a word with a confidence of p is right.

Whisper's token probabilities are those of the text so far and the sound, not of the word being right: they are too
low for words that can be spelt in two ways, and too high where it guesses fluently. A logistic function of a few
features of them, with constants fitted here, is what the daemon can compute. Each fit is judged on clips that it
has not seen: five folds over the clips, all conditions of a clip in the same fold.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from whisperd.speech.bundle import load_manifest
from whisperd.speech.tokenizer import Tokenizer

from .accuracy_report import fewer_colours
from .accuracy_runs import Heard, Results
from .accuracy_score import errors, plain_words
from .accuracy_words import Word, judged

if TYPE_CHECKING:
    from .accuracy import Sample

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

FOLDS = 5
BINS = 10
#: Keeps the fit of separable data finite; in units of one observation.
RIDGE = 1e-3
#: A token of the probability 1 - this is certain.
CERTAIN = 1e-4


@dataclass(frozen=True)
class Spoken:
    """One text: its words, and what is known of all of it."""

    clip: str
    language: str
    condition: str
    words: tuple[Word, ...]
    heard: Heard
    wer: float


Feature = Callable[[Spoken, Word], Sequence[float]]


def _odds(logprob: float) -> float:
    """Logit of a probability that is given by its logarithm."""
    probability = min(math.exp(logprob), 1.0 - CERTAIN)
    return math.log(max(probability, 1e-9) / (1.0 - probability))


def _mean(word: Word) -> float:
    return sum(word.logprobs) / len(word.logprobs)


#: What a word's confidence may be made of, all in nats.
FEATURES: dict[str, Feature] = {
    "sum": lambda _, w: (sum(w.logprobs),),
    "min": lambda _, w: (min(w.logprobs),),
    "mean": lambda _, w: (_mean(w),),
    "logit of min": lambda _, w: (_odds(min(w.logprobs)),),
    "logit of product": lambda _, w: (_odds(sum(w.logprobs)),),
    "sum, text's mean": lambda s, w: (sum(w.logprobs), s.heard.avg_logprob),
    "min, text's mean": lambda s, w: (min(w.logprobs), s.heard.avg_logprob),
    "logit of min, text's mean": lambda s, w: (_odds(min(w.logprobs)), s.heard.avg_logprob),
    "logit of product, text's mean": lambda s, w: (_odds(sum(w.logprobs)), s.heard.avg_logprob),
    "logit of product, text's mean, no-speech": lambda s, w: (
        _odds(sum(w.logprobs)),
        s.heard.avg_logprob,
        s.heard.no_speech_prob,
    ),
}
CHOSEN = "logit of product, text's mean"
TEXT_CHOSEN = "logistic: mean log-probability"
#: What is compared with as it comes.
RAW: dict[str, Callable[[Word], float]] = {
    "product of the probabilities": lambda w: math.exp(sum(w.logprobs)),
    "least of them": lambda w: math.exp(min(w.logprobs)),
    "their geometric mean": lambda w: math.exp(_mean(w)),
}


def fit_logistic(features: Matrix, right: Vector) -> Vector:
    """Constants (intercept first) of the most likely logistic function; `right` may be a share from 0 to 1."""
    x = np.column_stack([np.ones(len(features)), features])
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (right - p) - RIDGE * weights
        curvature = (x * (p * (1 - p))[:, None]).T @ x + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def logistic(weights: Vector, features: Matrix) -> Vector:
    """The function with these constants."""
    result: Vector = 1 / (1 + np.exp(-(weights[0] + features @ weights[1:])))
    return result


def fit_isotonic(score: Vector, right: Vector) -> tuple[Vector, Vector]:
    """The rising steps nearest to `right`, by pooling of adjacent violators: (scores, values), for interp."""
    order = np.argsort(score, kind="stable")
    blocks: list[list[float]] = []  # sum, count, first score, last score
    for index in order:
        blocks.append([float(right[index]), 1.0, float(score[index]), float(score[index])])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1], blocks[-1][2], last[3]]
    xs = [edge for block in blocks for edge in (block[2], block[3])]
    ys = [block[0] / block[1] for block in blocks for _ in range(2)]
    return np.array(xs), np.array(ys)


def calibration_error(confidence: Vector, right: Vector, bins: int = BINS) -> float:
    """Expected calibration error: |share right - mean confidence| of each tenth of the scale, by its words."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    total = 0.0
    for index in range(bins):
        inside = place == index
        if inside.any():
            total += inside.sum() * abs(float(right[inside].mean()) - float(confidence[inside].mean()))
    return total / len(confidence)


def area(confidence: Vector, right: Vector) -> float:
    """Probability that a right word has more confidence than a wrong one (ties count half)."""
    ranks = np.empty(len(confidence))
    values, place, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[place]
    positive = right > 0.5
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return float("nan")
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def folds(clips: Sequence[str]) -> npt.NDArray[np.int64]:
    """For each item the fold that its clip is in; always the same."""
    names = sorted(set(clips))
    places = np.random.default_rng(0).permutation(len(names)) % FOLDS
    of = dict(zip(names, places, strict=True))
    return np.array([of[name] for name in clips], np.int64)


def unseen(features: Matrix, right: Vector, fold: npt.NDArray[np.int64]) -> Vector:
    """Confidence of each item by a function that was fitted without its fold."""
    result = np.empty(len(right))
    for index in range(FOLDS):
        inside = fold == index
        if inside.any():
            result[inside] = logistic(fit_logistic(features[~inside], right[~inside]), features[inside])
    return result


def spoken(samples: Sequence[Sample], kept: Results, token_bytes: Callable[[int], bytes]) -> list[Spoken]:
    """Every text that has been kept, with its words judged."""
    found = []
    for sample in samples:
        if sample.audio not in kept:
            continue
        heard, language = kept[sample.audio], sample.clip.language
        words = judged(heard, sample.clip.text, language, token_bytes)
        said = plain_words(sample.clip.text, language)
        wer = errors(said, plain_words(heard.text, language)) / max(1, len(said))
        found.append(Spoken(sample.clip.name, language, sample.condition, tuple(words), heard, wer))
    return found


def as_json(texts: Sequence[Spoken]) -> list[dict[str, Any]]:
    """What a fit needs, for other tools."""
    return [
        {
            "clip": text.clip,
            "lang": text.language,
            "condition": text.condition,
            "words": [{"text": w.text, "token_logprobs": w.logprobs, "right": w.right} for w in text.words],
            "avg_logprob": text.heard.avg_logprob,
            "no_speech_prob": text.heard.no_speech_prob,
            "wer": text.wer,
            "refused": text.heard.refused,
        }
        for text in texts
    ]


def calibrate(samples: Sequence[Sample], kept: Results, options: argparse.Namespace, console: Console) -> int:
    """Fit, show, and write what was asked for; returns an exit status."""
    bundle = options.int8 or options.bundles / "base"
    tokenizer = Tokenizer(bundle, load_manifest(bundle).tokens.eot)
    texts = spoken(samples, kept, lambda token: tokenizer.decode_bytes([token]))
    if options.json:
        options.json.write_text(json.dumps(as_json(texts), ensure_ascii=False) + "\n")
    pairs = [(text, word) for text in texts for word in text.words]
    right = np.array([float(word.right) for _, word in pairs])
    if not 0 < right.sum() < len(right):
        console.print("nothing to fit: all words are right, or all wrong", style="red")
        return 2
    before, after = _words(pairs, right, console)
    transcripts = _texts(texts, console)
    if options.plot:
        draw(
            [
                ("words: product of probabilities", before, right),
                ("words: confidence", after, right),
                ("texts: confidence", *transcripts),
            ],
            options.plot,
        )
    return 0


def _words(pairs: Sequence[tuple[Spoken, Word]], right: Vector, console: Console) -> tuple[Vector, Vector]:
    """Table and constants of the words' fits: their confidence before and after."""
    fold = folds([text.clip for text, _ in pairs])
    title = f"{len(right)} words, {100 * right.mean():.1f}% right; fits judged on clips not seen"
    table = Table("confidence", "calibration error", "Brier", "area", title=title)
    raw = {name: np.array([score(word) for _, word in pairs]) for name, score in RAW.items()}
    for name, confidence in raw.items():
        _row(table, name, confidence, right)
    table.add_section()
    chosen = raw["product of the probabilities"]
    for name, feature in FEATURES.items():
        matrix = np.array([feature(text, word) for text, word in pairs])
        confidence = unseen(matrix, right, fold)
        _row(table, f"logistic: {name}", confidence, right)
        if name == CHOSEN:
            chosen, weights = confidence, fit_logistic(matrix, right)
    steps = np.empty(len(right))
    product = np.array([sum(word.logprobs) for _, word in pairs])
    for index in range(FOLDS):
        inside = fold == index
        steps[inside] = np.interp(product[inside], *fit_isotonic(product[~inside], right[~inside]))
    _row(table, "isotonic: sum", steps, right)
    console.print(table)
    console.print(f"word: {CHOSEN}: constants {', '.join(f'{w:.3f}' for w in weights)}", highlight=False)
    by = {}
    for kind in ("language", "condition"):
        for name in dict.fromkeys(getattr(text, kind) for text, _ in pairs):
            inside = np.array([getattr(text, kind) == name for text, _ in pairs])
            by[name] = f"{name} {chosen[inside].mean():.2f}/{right[inside].mean():.2f}"
    console.print("mean confidence/share right: " + ", ".join(by.values()), highlight=False)
    return raw["product of the probabilities"], chosen


def _texts(texts: Sequence[Spoken], console: Console) -> tuple[Vector, Vector]:
    """The same for whole texts, whose confidence is the share of their words that is right: 1 - WER."""
    delivered = [text for text in texts if text.words]
    share = np.array([max(0.0, 1.0 - text.wer) for text in delivered])
    fold = folds([text.clip for text in delivered])
    candidates = {
        "exp of the mean log-probability": None,
        TEXT_CHOSEN: [(text.heard.avg_logprob,) for text in delivered],
        "logistic: mean log-probability, no-speech": [
            (text.heard.avg_logprob, text.heard.no_speech_prob) for text in delivered
        ],
    }
    table = Table("", "calibration error", "mean error", title=f"{len(delivered)} texts; 1 - WER of each")
    chosen = np.zeros(len(share))
    for name, features in candidates.items():
        if features is None:
            confidence = np.exp(np.array([text.heard.avg_logprob for text in delivered]))
        else:
            confidence = unseen(np.array(features), share, fold)
        chosen = confidence if name == TEXT_CHOSEN else chosen
        error = float(np.abs(confidence - share).mean())
        table.add_row(name, f"{calibration_error(confidence, share):.3f}", f"{error:.3f}")
        if features is not None:
            constants = ", ".join(f"{w:.3f}" for w in fit_logistic(np.array(features), share))
            console.print(f"text: {name}: constants {constants}", highlight=False)
    console.print(table)
    return chosen, share


def _row(table: Table, name: str, confidence: Vector, right: Vector) -> None:
    brier = float(((confidence - right) ** 2).mean())
    error = calibration_error(confidence, right)
    table.add_row(name, f"{error:.3f}", f"{brier:.3f}", f"{area(confidence, right):.3f}")


def draw(panels: Sequence[tuple[str, Vector, Vector]], path: Path) -> None:
    """Reliability: for each tenth of the scale how many were right; beneath, how many there are."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(3.2 * len(panels), 3.2), dpi=110)
    for axis, (title, confidence, right) in zip(axes, panels, strict=True):
        place = np.minimum((confidence * BINS).astype(int), BINS - 1)
        used = [index for index in range(BINS) if (place == index).any()]
        x = [float(confidence[place == index].mean()) for index in used]
        y = [float(right[place == index].mean()) for index in used]
        shares = [float((place == index).mean()) for index in used]
        axis.bar([(index + 0.5) / BINS for index in used], shares, 0.9 / BINS, color="#dddddd")
        axis.plot([0, 1], [0, 1], color="black", linewidth=0.6, linestyle=":")
        axis.plot(x, y, color="#ee6677", marker="o", markersize=4, linewidth=1.2)
        axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axis.set_title(f"{title}\ncalibration error {calibration_error(confidence, right):.3f}", fontsize=8)
        axis.set_xlabel("confidence", fontsize=7)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel("right (line); share of all (bars)", fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
    fewer_colours(path)
