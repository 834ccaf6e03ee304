"""Context-free grammars over bytes: what a text may be. Pure.

What a rule may begin with is known before anything is matched: one that begins with itself, which would never come
to an end, is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Byte:
    """One byte: bit b of `mask` is set if it may be b."""

    mask: int


@dataclass(frozen=True)
class Call:
    """A rule, by its number."""

    rule: int


END: Final = None
Element = Byte | Call | None
"""Of a flat list, in which each alternative of a rule ends with `END`."""
Alternatives = list[list[Byte | Call]]
"""Of one rule: each a sequence, which may be empty."""


@dataclass(frozen=True)
class Grammar:
    """A grammar, ready to be matched.

    Attributes:
        elements: of all alternatives.
        rules: where in `elements` the alternatives of each rule begin.
        root: the rule that a text has to be.
    """

    elements: tuple[Element, ...]
    rules: tuple[tuple[int, ...], ...]
    root: int


def compiled(rules: Sequence[Alternatives], root: int) -> Grammar:
    """A grammar of rules none of which begins with itself, see `begins_with_itself`."""
    elements: list[Element] = []
    starts: list[tuple[int, ...]] = []
    for alternatives in rules:
        begins = []
        for sequence in alternatives:
            begins.append(len(elements))
            elements += [*sequence, END]
        starts.append(tuple(begins))
    return Grammar(tuple(elements), tuple(starts), root)


def begins_with_itself(rules: Sequence[Alternatives]) -> int | None:
    """A rule that comes back to itself before anything is read, if there is one."""
    empty = _may_be_empty(rules)
    begins: list[set[int]] = []
    for alternatives in rules:
        first: set[int] = set()
        for sequence in alternatives:
            for element in sequence:
                if isinstance(element, Call):
                    first.add(element.rule)
                if not (isinstance(element, Call) and element.rule in empty):
                    break
        begins.append(first)
    # From what is left one can go on for ever, and from what is left then also back: it lies on a circle, or
    # between two.
    left = _without_ends(begins)
    ahead: list[set[int]] = [set() for _ in rules]
    for rule in left:
        for other in begins[rule] & left:
            ahead[other].add(rule)
    return min(left & _without_ends(ahead), default=None)


def _without_ends(edges: Sequence[set[int]]) -> set[int]:
    """The nodes of a graph from which one can go on for ever."""
    back: list[list[int]] = [[] for _ in edges]
    for node, others in enumerate(edges):
        for other in others:
            back[other].append(node)
    open_edges = [len(others) for others in edges]
    left = set(range(len(edges)))
    ends = [node for node in left if not open_edges[node]]
    while ends:
        node = ends.pop()
        left.discard(node)
        for other in back[node]:
            open_edges[other] -= 1
            if not open_edges[other]:
                ends.append(other)
    return left


def _may_be_empty(rules: Sequence[Alternatives]) -> set[int]:
    """The rules that nothing at all may be."""
    waiting: list[list[tuple[int, list[int]]]] = [[] for _ in rules]
    ready: list[int] = []
    for rule, alternatives in enumerate(rules):
        for sequence in alternatives:
            if not sequence:
                ready.append(rule)
            elif all(isinstance(element, Call) for element in sequence):
                missing = [len(sequence)]  # how many of its rules are not known to be able to
                for element in sequence:
                    assert isinstance(element, Call)
                    waiting[element.rule].append((rule, missing))
    empty: set[int] = set()
    while ready:
        rule = ready.pop()
        if rule in empty:
            continue
        empty.add(rule)
        for other, missing in waiting[rule]:
            missing[0] -= 1
            if not missing[0]:
                ready.append(other)
    return empty
