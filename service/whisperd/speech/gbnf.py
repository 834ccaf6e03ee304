"""Grammars in GBNF, the notation of whisper.cpp and llama.cpp: parsed, checked, and compiled to bytes. Pure.

    root   ::= "Call " name "."? | "Turn " ("on" | "off") " the " ("heating" | "light") "."?
    name   ::= [A-Z] [a-z]+      # a class, once or more

A blank before the text may be left out. A grammar comes from a client, so everything in it has a bound.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from .grammar import Alternatives, Byte, Call, Grammar, begins_with_itself, compiled
from .utf8_ranges import LAST_CHAR, others, utf8

MAX_CHARS: Final = 8_000
#: Elements of all rules together, once classes have become bytes: a class of letters has some 20.
MAX_ELEMENTS: Final = 20_000
MAX_NESTING: Final = 50
MAX_REPEATS: Final = 100
#: Grammars that are kept, as clips come with the same ones again and again.
_KEPT: Final = 8

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SPACE: Final = re.compile(r"(?:[ \t]|#[^\n]*)*")
_SPACE_AND_LINES: Final = re.compile(r"(?:\s|#[^\n]*)*")
_OR: Final = re.compile(r"(?:\s|#[^\n]*\n)*\|")  # a comment in one way only, or it would be tried in millions
_REPEATS: Final = re.compile(r"\{\s*(\d{1,9})\s*(,\s*(\d{1,9})?\s*)?\}")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-", "^": "^"}
_HEX: Final = {"x": 2, "u": 4, "U": 8}


class GrammarError(ValueError):
    """What is wrong, and in which line."""


@lru_cache(maxsize=_KEPT)
def parse(text: str, root: str) -> Grammar:
    """Compile a grammar.

    Args:
        text: GBNF.
        root: name of the rule that a text has to be.

    Raises:
        GrammarError: it is none, is too large, or could go round without end.
    """
    if len(text) > MAX_CHARS:
        raise GrammarError(f"is {len(text)} characters long, {MAX_CHARS} is the most")
    return _Parser(text).grammar(root)


@dataclass
class _Rules:
    """The rules as they are found."""

    numbers: dict[str, int] = field(default_factory=dict)
    found: list[Alternatives | None] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)  # in which line first
    elements: int = 0

    def number(self, name: str, line: int) -> int:
        self.used.setdefault(name, line)
        if name not in self.numbers:
            self.numbers[name] = len(self.found)
            self.found.append(None)
        return self.numbers[name]

    def add(self, alternatives: Alternatives) -> Call:
        """A rule without a name."""
        self.found.append(None)
        self.set(len(self.found) - 1, alternatives)
        return Call(len(self.found) - 1)

    def set(self, number: int, alternatives: Alternatives) -> None:
        self.found[number] = alternatives
        self.elements += sum(len(sequence) + 1 for sequence in alternatives)
        if self.elements > MAX_ELEMENTS:
            raise GrammarError(f"has more than {MAX_ELEMENTS} elements")


class _Parser:
    """Recursive descent over one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._nesting = 0
        self._rules = _Rules()

    def grammar(self, root: str) -> Grammar:
        self._skip(_SPACE_AND_LINES)
        while self._at < len(self._text):
            self._rule()
            self._skip(_SPACE_AND_LINES)
        rules = self._rules
        if root not in rules.numbers or rules.found[rules.numbers[root]] is None:
            raise GrammarError(f"has no rule {reprlib.repr(root)}")
        for name, number in rules.numbers.items():
            if rules.found[number] is None:
                raise GrammarError(f"line {rules.used[name]}: there is no rule {reprlib.repr(name)}")
        found = [alternatives or [] for alternatives in rules.found]
        names = {number: name for name, number in rules.numbers.items()}
        if (circle := begins_with_itself(found)) is not None:
            raise GrammarError(
                f"the rule {reprlib.repr(names[circle])} begins with itself"
                if circle in names
                else "what is repeated with * or + may be empty"
            )
        # Whisper begins most texts with a blank, of which nobody thinks.
        whole = Call(rules.numbers[root])
        return compiled([*found, [[Byte(1 << ord(" ")), whole], [whole]]], len(found))

    # --- what stands where ---

    def _rule(self) -> None:
        name = self._name()
        line = self._line()
        self._skip(_SPACE)
        if not self._text.startswith("::=", self._at):
            raise self._wrong(f"::= is missing behind {reprlib.repr(name)}")
        self._at += 3
        self._skip(_SPACE_AND_LINES)
        number = self._rules.number(name, line)
        if self._rules.found[number] is not None:
            raise GrammarError(f"line {line}: the rule {reprlib.repr(name)} is there twice")
        self._rules.set(number, self._alternatives())
        if self._at < len(self._text) and self._text[self._at] not in "\r\n":
            raise self._wrong("this is no part of a rule")

    def _alternatives(self) -> Alternatives:
        found = [self._sequence()]
        # The next line may begin with it as well: no rule does.
        while match := _OR.match(self._text, self._at):
            self._at = match.end()
            self._skip(_SPACE_AND_LINES)
            found.append(self._sequence())
        return found

    def _sequence(self) -> list[Byte | Call]:
        found: list[Byte | Call] = []
        while True:
            here = self._here()
            if here == '"':
                # Of a literal, what is repeated is all of it.
                found += self._repeated([Byte(1 << byte) for byte in self._literal()])
            elif here == "[":
                found += self._repeated(self._class())
            elif here == ".":
                self._at += 1
                found += self._repeated([self._rules.add(_spelled([(0, LAST_CHAR)]))])
            elif here == "(":
                found += self._repeated(self._group())
            elif here and _NAME.match(here):
                line = self._line()
                found += self._repeated([Call(self._rules.number(self._name(), line))])
            else:
                return found
            self._skip(_SPACE_AND_LINES if self._nesting else _SPACE)

    def _group(self) -> list[Byte | Call]:
        opened = self._line()
        self._at += 1
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._wrong(f"more than {MAX_NESTING} parentheses within each other")
        self._skip(_SPACE_AND_LINES)
        alternatives = self._alternatives()
        if self._here() != ")":
            raise GrammarError(f"line {opened}: a parenthesis is not closed")
        self._at += 1
        self._nesting -= 1
        return [self._rules.add(alternatives)]

    def _repeated(self, item: list[Byte | Call]) -> list[Byte | Call]:
        """What was read, as often as the sign behind it says."""
        self._skip(_SPACE_AND_LINES if self._nesting else _SPACE)
        here = self._here()
        if here in ("*", "+", "?"):
            self._at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[here]
        elif here == "{":
            match = _REPEATS.match(self._text, self._at)
            if match is None:
                raise self._wrong("of a repetition, {m}, {m,} and {m,n} can be read")
            self._at = match.end()
            least = int(match[1])
            most = least if match[2] is None else int(match[3]) if match[3] else None
            if least > MAX_REPEATS or (most is not None and not least <= most <= MAX_REPEATS):
                raise self._wrong(f"a repetition is of 0 to {MAX_REPEATS}, and not the other way round")
        else:
            return item
        if not item:
            return []
        unit = item if len(item) == 1 else [self._rules.add([item])]
        if most is None:
            again = self._rules.add([[]])
            self._rules.set(again.rule, [[*unit, again], []])
            return [*unit * least, again]
        optional: list[Byte | Call] = []
        for _ in range(most - least):
            optional = [self._rules.add([[*unit, *optional], []])]
        return [*unit * least, *optional]

    def _literal(self) -> bytes:
        opened = self._line()
        self._at += 1
        chars: list[str] = []
        while (here := self._here()) != '"':
            if not here or here in "\r\n":
                raise GrammarError(f"line {opened}: a quotation mark is not closed")
            chars.append(self._char())
        self._at += 1
        return "".join(chars).encode()

    def _class(self) -> list[Byte | Call]:
        opened = self._line()
        self._at += 1
        negative = self._here() == "^"
        self._at += negative
        spans: list[tuple[int, int]] = []
        while (here := self._here()) != "]":
            if not here or here in "\r\n":
                raise GrammarError(f"line {opened}: a bracket is not closed")
            first = last = ord(self._char())
            if self._here() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                last = ord(self._char())
                if last < first:
                    raise self._wrong(f"{chr(first)}-{chr(last)} is no range")
            spans.append((first, last))
        self._at += 1
        alternatives = _spelled(others(spans) if negative else spans)
        if not alternatives:
            raise GrammarError(f"line {opened}: a class without characters")
        if len(alternatives) == 1:
            return alternatives[0]
        return [self._rules.add(alternatives)]

    def _char(self) -> str:
        """The next character of a literal or a class."""
        here = self._text[self._at]
        self._at += 1
        if here != "\\":
            if "\ud800" <= here <= "\udfff":
                raise self._wrong("half of a character")
            return here
        sign = self._here()
        self._at += 1
        if sign in _ESCAPES:
            return _ESCAPES[sign]
        if digits := _HEX.get(sign):
            told = self._text[self._at : self._at + digits]
            self._at += digits
            code = int(told, 16) if re.fullmatch(f"[0-9A-Fa-f]{{{digits}}}", told) else -1
            if 0 <= code <= LAST_CHAR and not 0xD800 <= code <= 0xDFFF:
                return chr(code)
        raise self._wrong(f"\\{sign} is no character")

    # --- the text ---

    def _here(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, what: re.Pattern[str]) -> None:
        match = what.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _name(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match is None:
            raise self._wrong("a rule's name is expected")
        self._at = match.end()
        return match[0]

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _wrong(self, why: str) -> GrammarError:
        rest = self._text[self._at : self._at + 12].split("\n")[0]
        return GrammarError(f"line {self._line()}, before {rest!r}: {why}")


def _spelled(spans: Iterable[tuple[int, int]]) -> Alternatives:
    """Characters as UTF-8. All single bytes become one element."""
    single = 0
    found: Alternatives = []
    for first, last in spans:
        for sequence in utf8(first, last):
            masks = [(1 << high + 1) - (1 << low) for low, high in sequence]
            if len(masks) == 1:
                single |= masks[0]
            else:
                found.append([Byte(mask) for mask in masks])
    return [[Byte(single)], *found] if single else found
