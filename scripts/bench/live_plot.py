"""What appeared when: a picture for each clip, with its loudness and a line for each word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .live_figures import Take, energy, told, word_times
from .live_report import short

WAITS, STANDS, FINAL, SOUND = "#f2b872", "#5b8fc9", "#1f3d66", "#b9c2cc"
COLUMNS = 2
TAIL_S = 0.4
DOTS_PER_INCH = 88
COLOURS = 48
"""Of the picture: it is in a repository."""


def draw(takes: Sequence[Take], path: Path) -> None:
    """Draw the last take of each clip and policy to a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    newest = list({(take.policy, take.clip.name): take for take in takes}.values())
    columns = min(COLUMNS, len(newest))
    rows = -(-len(newest) // columns)
    most = max(len(word_times(take)) for take in newest)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(6.2 * columns, rows * (1.6 + 0.17 * most)), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(newest) :]:
        axis.axis("off")
    for take, axis in zip(newest, axes.flat, strict=False):
        _panel(axis, take)
    names = {"shown": WAITS, "stands": STANDS, "final": FINAL, "loudness": SOUND}
    patches: list[Any] = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in names.values()]
    patches.append(pyplot.Line2D([], [], color="black", linewidth=0, marker="|", markersize=8))
    patches.append(pyplot.Line2D([], [], color="black", linewidth=0.7, linestyle=":"))
    labels = [*names, "the word's end (estimate)", "endpoint"]
    figure.legend(patches, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    pyplot.close(figure)
    _fewer_colours(path)


def _panel(axis: Any, take: Take) -> None:
    words = word_times(take)
    end = max([word.final for word in words], default=take.at + len(take.pcm) / 16_000) - take.at + TAIL_S
    for row, word in enumerate(words):
        shown, stood, final = (at - take.at for at in (word.shown, word.stood, word.final))
        axis.barh(row, stood - shown, left=shown, height=0.8, color=WAITS)
        axis.barh(row, final - stood, left=stood, height=0.8, color=STANDS)
        axis.barh(row, end - final, left=final, height=0.8, color=FINAL)
        axis.plot([word.spoken - take.at] * 2, [row - 0.4, row + 0.4], color="black", linewidth=1)
        axis.text(
            min(shown, word.spoken - take.at) - 0.012 * (end + 0.3),
            row,
            word.text,
            ha="right",
            va="center",
            fontsize=7,
        )
    loudness = np.maximum(energy(take.pcm), -60.0) + 60
    tall = 3.0
    base = len(words) + tall + 0.2
    axis.fill_between(
        np.arange(len(loudness)) / 100, base, base - tall * loudness / loudness.max(), color=SOUND, linewidth=0
    )
    for said in told(take.events):
        axis.axvline(said.stopped_at - take.at, color="black", linewidth=0.7, linestyle=":")
    axis.set(xlim=(-0.08 * end, end), ylim=(base, -0.8), yticks=[])
    axis.set_title(f"{short(take.clip.name)}, {take.policy}", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.set_xlabel("seconds", fontsize=7)
    for side in ("left", "right", "top"):
        axis.spines[side].set_visible(False)


def _fewer_colours(path: Path) -> None:
    from PIL import Image  # matplotlib's own

    with Image.open(path) as image:
        image.convert("RGB").quantize(COLOURS).save(path, optimize=True)
