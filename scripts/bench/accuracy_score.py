"""Word errors by contender and slice, the gate, and how sure all of it is.

A difference is in points: percent of words. A slice is all clips of a language, or of a condition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

#: Points that int8 tail may have more than float32 over the full context: over everything, and in a slice.
OVERALL_POINTS, SLICE_POINTS = 0.5, 1.5
#: Points are compared with this much room for rounding: a difference that is just the bound is within.
_ROUNDING = 1e-9
RESAMPLES = 2000


@dataclass(frozen=True)
class Item:
    """A clip in a condition, as all contenders heard it: words in it, and each contender's errors."""

    clip: str
    language: str
    condition: str
    words: int
    errors: dict[str, int]


@dataclass(frozen=True)
class Slice:
    """What is judged by itself.

    Attributes:
        kind: "overall", "language" or "condition".
        bound: points that the judged may have more than the reference.
    """

    kind: str
    name: str
    bound: float
    words: int
    errors: dict[str, int]

    def rate(self, contender: str) -> float:
        """Word error rate in percent."""
        return 100.0 * self.errors[contender] / self.words

    def difference(self, judged: str, reference: str) -> float:
        """Points that `judged` has more than `reference`; negative where it is better."""
        return 100.0 * (self.errors[judged] - self.errors[reference]) / self.words

    def within(self, judged: str, reference: str) -> bool:
        """Whether the difference keeps to the bound."""
        return self.difference(judged, reference) <= self.bound + _ROUNDING


@cache
def normaliser(language: str) -> Callable[[str], str]:
    """Whisper's own: the English one, and for all others the basic one, which here leaves accents out.

    The listings of the recordings write "numero" and "número" as it comes.
    """
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    made: Callable[[str], str] = (
        EnglishTextNormalizer() if language == "en" else BasicTextNormalizer(remove_diacritics=True)
    )
    return made


def plain_words(text: str, language: str) -> list[str]:
    """The words of a text, normalised."""
    return normaliser(language)(text).split()


def errors(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Words to substitute, insert and delete."""
    import jiwer

    if not hypothesis:
        return len(reference)
    found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    return int(found.substitutions + found.insertions + found.deletions)


def slices(items: Sequence[Item]) -> list[Slice]:
    """Overall, each language, each condition, in the order in which they come.

    Raises:
        ValueError: there are no words at all.
    """
    if not sum(item.words for item in items):
        raise ValueError("nothing has been heard yet by all contenders")
    found = [_slice("overall", "all", OVERALL_POINTS, items)]
    for kind in ("language", "condition"):
        names = dict.fromkeys(getattr(item, kind) for item in items)
        for name in names:
            of_it = [item for item in items if getattr(item, kind) == name]
            found.append(_slice(kind, name, SLICE_POINTS, of_it))
    return found


def cells(items: Sequence[Item]) -> dict[tuple[str, str], Slice]:
    """Each language in each condition: for information, they have too few words to be judged."""
    keys = dict.fromkeys((item.language, item.condition) for item in items)
    return {
        key: _slice("cell", " ".join(key), 0.0, [i for i in items if (i.language, i.condition) == key])
        for key in keys
    }


def failing(judged: str, reference: str, of: Iterable[Slice]) -> list[Slice]:
    """The slices in which the gate is shut."""
    return [each for each in of if not each.within(judged, reference)]


def interval(items: Sequence[Item], judged: str, reference: str) -> tuple[float, float]:
    """95% interval of the difference in points: clips drawn with all their conditions, 2000 times."""
    clips = list(dict.fromkeys(item.clip for item in items))
    place = {name: index for index, name in enumerate(clips)}
    words, more = np.zeros(len(clips)), np.zeros(len(clips))
    for item in items:
        words[place[item.clip]] += item.words
        more[place[item.clip]] += item.errors[judged] - item.errors[reference]
    drawn = np.random.default_rng(0).integers(0, len(clips), (RESAMPLES, len(clips)))
    differences = 100.0 * more[drawn].sum(axis=1) / words[drawn].sum(axis=1)
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)


def _slice(kind: str, name: str, bound: float, items: Sequence[Item]) -> Slice:
    names = items[0].errors.keys() if items else ()
    total = {contender: sum(item.errors[contender] for item in items) for contender in names}
    return Slice(kind, name, bound, sum(item.words for item in items), total)
