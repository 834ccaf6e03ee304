"""The tables of scripts/bench/live."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from .live_figures import TARGETS, Figures, unmet

IDLE_TARGET = 0.03
"""Of a core, while nobody speaks."""

_COLUMNS = {
    "first_partial_s": "first text",
    "first_right_s": "first right",
    "partial_gap_s": "longest gap",
    "stands_after_s": "stands after",
    "shown_after_s": "shown after",
    "final_after_endpoint_s": "final after endpoint",
    "final_after_speech_s": "final after speech",
    "changes_per_s": "changes a second",
    "onset_found_s": "start found",
}


def show(console: Console, measured: Sequence[Figures], run: dict[str, Any]) -> None:
    """Print one table for each policy, and what is of the whole run."""
    policies = list(dict.fromkeys(one.policy for one in measured))
    for policy in policies:
        console.print(_table(policy, [one for one in measured if one.policy == policy]))
    for policy in policies:
        of = [one for one in measured if one.policy == policy]
        cpu = sum(one.cpu_s for one in of) / sum(one.speech_s for one in of)
        console.print(f"{policy}: {cpu:.2f} s of CPU for a second of speech, peak {run['peak_mb'][policy]:.0f} MB")
    for what, idle in run["idle"].items():
        mark = "" if idle["cpu"] <= IDLE_TARGET else " !"
        found = f", {idle['utterances']} utterances" if idle["utterances"] else ""
        console.print(f"{what}, nobody speaks: {100 * idle['cpu']:.2f}% of a core{mark}{found}")
    console.print(f"load of the PC before and after: {run['load'][0]:.1f}, {run['load'][1]:.1f}")
    for one in measured:
        for name in unmet(one):
            console.print(
                f"! {one.policy}, {one.clip}: {name} {getattr(one, name):.2f}, at most {TARGETS[name]:g}"
            )
        for text in one.broken:
            console.print(f"! {one.policy}, {one.clip}: BROKEN: {text}", highlight=False, markup=False)
        if one.words_worse > 0:
            console.print(f"  {one.policy}, {one.clip}: {one.text}", highlight=False, markup=False)
    missed = sum(len(unmet(one)) + len(one.broken) for one in measured)
    missed += sum(not idle["cpu"] <= IDLE_TARGET for idle in run["idle"].values())
    console.print("all targets met" if not missed else f"{missed} targets NOT met")


def short(clip: str) -> str:
    """A name that fits into a column."""
    return clip.rsplit("_", 1)[-1]


def _table(policy: str, of: list[Figures]) -> Table:
    table = Table(
        "clip",
        "s",
        *(f"{title}\n≤ {TARGETS[name]:g}" if name in TARGETS else title for name, title in _COLUMNS.items()),
        "wrong\nlive, one piece",
        "utter-\nances",
        title=f"{policy}: seconds",
    )
    for one in of:
        missed = unmet(one)
        numbers = (f"{getattr(one, name):.2f}{' !' if name in missed else ''}" for name in _COLUMNS)
        wrong = f"{one.errors}, {one.one_shot_errors} of {one.words}{' !' if 'words_worse' in missed else ''}"
        table.add_row(short(one.clip), f"{one.speech_s:.1f}", *numbers, wrong, str(one.utterances))
    table.add_section()
    for what, summary in (("median", statistics.median), ("worst", max)):
        numbers = (f"{summary([getattr(one, name) for one in of]):.2f}" for name in _COLUMNS)
        table.add_row(what, "", *numbers, "", "")
    words = f"{sum(o.errors for o in of)}, {sum(o.one_shot_errors for o in of)} of {sum(o.words for o in of)}"
    table.add_row(
        "sum",
        f"{sum(o.speech_s for o in of):.1f}",
        *[""] * len(_COLUMNS),
        words,
        str(sum(o.utterances for o in of)),
    )
    return table
