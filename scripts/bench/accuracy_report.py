"""The tables of word error rates, the gate's answer, and the plot."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from .accuracy_runs import CONTENDERS, FULL, INT8, STRANGER, TAIL, Heard
from .accuracy_score import Item, Slice, cells, failing, interval, slices

if TYPE_CHECKING:
    from .accuracy import Sample

#: Who is compared with whom: the gate, and what of it is the tail's doing and what int8's; the stranger.
COMPARED = ((INT8, FULL), (TAIL, FULL), (INT8, TAIL), (INT8, STRANGER))
COLOURS = {FULL: "#4477aa", TAIL: "#66ccee", INT8: "#ee6677", STRANGER: "#bbbbbb"}
PLOT_COLOURS = 64


def judge(
    items: Sequence[Item],
    texts: Sequence[tuple[Sample, dict[str, Heard]]],
    options: argparse.Namespace,
    console: Console,
) -> int:
    """Show everything, write what was asked for, and return the exit status that the gate asks for."""
    if not items:
        console.print("nothing has been heard by all of them yet", style="red")
        return 2
    found = slices(items)
    here = [name for name in CONTENDERS if name in items[0].errors]
    _show(found, here, console)
    pairs = [pair for pair in COMPARED if pair[0] in here and pair[1] in here]
    between = {pair: interval(items, *pair) for pair in pairs}
    for (judged, reference), (low, high) in between.items():
        points = found[0].difference(judged, reference)
        console.print(
            f"{judged} against {reference}: {points:+.2f} points, 95% interval {low:+.2f} to {high:+.2f}",
            highlight=False,
        )
    if (INT8, FULL) in pairs:
        _show_cells(items, console)
    if options.json:
        _write(options.json, found, between, texts)
    if options.plot:
        draw(found, here, options.plot)
    return _gate(found, here, console)


def _gate(found: Sequence[Slice], here: Sequence[str], console: Console) -> int:
    if INT8 not in here or FULL not in here:
        console.print(f"the gate needs {INT8} and {FULL}: nothing was judged", style="red")
        return 3
    shut = failing(INT8, FULL, found)
    for each in shut:
        console.print(
            f"SHUT: {each.kind} {each.name}: {each.difference(INT8, FULL):+.2f} points, at most {each.bound:g}",
            style="bold red",
            highlight=False,
        )
    console.print(f"the gate is {'SHUT' if shut else 'open'}", style="bold red" if shut else "bold green")
    return 1 if shut else 0


def _show(found: Sequence[Slice], here: Sequence[str], console: Console) -> None:
    gated = INT8 in here and FULL in here
    more = (f"{INT8} - {FULL}", "at most") if gated else ()
    table = Table("", "words", *here, *more, title="word error rate, percent")
    for each in found:
        row = [each.name if each.kind != "overall" else "all", str(each.words)]
        row += [f"{each.rate(name):.2f}" for name in here]
        if gated:
            style = "" if each.within(INT8, FULL) else "bold red"
            row += [
                f"[{style}]{each.difference(INT8, FULL):+.2f}[/]"
                if style
                else f"{each.difference(INT8, FULL):+.2f}"
            ]
            row += [f"{each.bound:g}"]
        table.add_row(*row, end_section=each is found[0] or _last_of_kind(each, found))
    console.print(table)


def _last_of_kind(each: Slice, found: Sequence[Slice]) -> bool:
    return each is [other for other in found if other.kind == each.kind][-1]


def _show_cells(items: Sequence[Item], console: Console) -> None:
    by_key = cells(items)
    languages = list(dict.fromkeys(language for language, _ in by_key))
    conditions = list(dict.fromkeys(condition for _, condition in by_key))
    title = f"{INT8} - {FULL} in points (words); for information"
    table = Table("", *conditions, title=title)
    for language in languages:
        row = []
        for condition in conditions:
            cell = by_key.get((language, condition))
            shown = cell is not None and cell.words
            row.append(f"{cell.difference(INT8, FULL):+.1f} ({cell.words})" if cell and shown else "-")
        table.add_row(language, *row)
    console.print(table)


def _write(
    path: Path,
    found: Sequence[Slice],
    between: dict[tuple[str, str], tuple[float, float]],
    texts: Sequence[tuple[Sample, dict[str, Heard]]],
) -> None:
    report: dict[str, Any] = {
        "slices": [asdict(each) for each in found],
        "intervals": [
            {
                "judged": judged,
                "reference": reference,
                "points": found[0].difference(judged, reference),
                "95%": list(ends),
            }
            for (judged, reference), ends in between.items()
        ],
        "texts": [
            {
                "clip": sample.clip.name,
                "language": sample.clip.language,
                "condition": sample.condition,
                "said": sample.clip.text,
                "heard": {name: one.text for name, one in heard.items()},
            }
            for sample, heard in texts
        ],
    }
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def draw(found: Sequence[Slice], here: Sequence[str], path: Path) -> None:
    """A bar for each contender in each slice."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 3.6), dpi=110)
    width = 0.8 / len(here)
    names = [f"{each.name}\n{each.words} words" for each in found]
    for place, name in enumerate(here):
        at = [index + width * (place - (len(here) - 1) / 2) for index in range(len(found))]
        axes.bar(at, [each.rate(name) for each in found], width, color=COLOURS[name], label=name)
    for index, each in enumerate(found[1:], 1):
        if each.kind != found[index - 1].kind:
            axes.axvline(index - 0.5, color="black", linewidth=0.5)
    axes.set_xticks(range(len(found)), names, fontsize=6.5)
    axes.set_ylabel("words wrong, percent", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlim(-0.6, len(found) - 0.4)
    axes.margins(y=0.15)  # room for the legend
    axes.legend(fontsize=7, frameon=False, ncols=len(here))
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
    fewer_colours(path)


def fewer_colours(path: Path) -> None:
    """Make a PNG small enough to be kept in a repository."""
    from PIL import Image  # matplotlib's own

    with Image.open(path) as image:
        image.convert("RGB").quantize(PLOT_COLOURS).save(path, optimize=True)
