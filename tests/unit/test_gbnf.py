"""GBNF: what each sign means, what is refused and where, every bound, and against Python's regular expressions."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from grammars import follows
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.speech.gbnf import MAX_CHARS, MAX_ELEMENTS, MAX_NESTING, MAX_REPEATS, GrammarError, parse
from whisperd.speech.utf8_ranges import LAST_CHAR, others, utf8

# --- what it means ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grammar", "has", "has_not"),
    [
        ('root ::= "ab"', ["ab"], ["", "a", "abc", "b"]),
        ('root ::= "a" "b"', ["ab"], ["a b"]),
        ('root ::= "a" | "b"', ["a", "b"], ["ab", ""]),
        ('root ::= "a" |', ["a", ""], ["aa"]),
        ('root ::= ""', [""], ["a"]),
        ('root ::= "a" ("b" | "c") "d"', ["abd", "acd"], ["ad", "abcd"]),
        ('root ::= "a"*', ["", "a", "aaa"], ["b"]),
        ('root ::= "ab"+', ["ab", "abab"], ["", "abb", "aba"]),
        ('root ::= "ab"?', ["", "ab"], ["a", "abab"]),
        ('root ::= ("a" | "bc")*', ["", "abca"], ["ab"]),
        ("root ::= [a-c]{2}", ["ab", "cc"], ["a", "abc", "ad"]),
        ('root ::= "x"{2,}', ["xx", "xxxxx"], ["x", ""]),
        ('root ::= "x"{1,3}', ["x", "xx", "xxx"], ["", "xxxx"]),
        ('root ::= "x" { 0 , 1 } "y" *', ["", "xyy"], ["yx"]),
        ('root ::= "x"{ 0 , 1 }', ["", "x"], ["xx"]),
        ('root ::= "x"{0}', [""], ["x"]),
        ('root ::= ""* "a"', ["a"], [""]),
        ("root ::= [a-cx]", ["a", "b", "c", "x"], ["d", "-", ""]),
        ("root ::= [^a-c]", ["d", "é", "日", "😀", "\n"], ["a", "b", "c", ""]),
        ("root ::= [^]", ["a", "😀"], [""]),
        ("root ::= [a-]", ["a", "-"], ["b"]),
        (r"root ::= [\]\-\\]", ["]", "-", "\\"], ["a"]),
        ("root ::= [à-ö日]", ["à", "é", "ö", "日"], ["o", "÷", "本"]),
        ("root ::= .", ["a", "é", "😀"], ["", "ab"]),
        ('root ::= "Grüß Gott, 日本 😀"', ["Grüß Gott, 日本 😀"], ["Grüß Gott"]),
        (r'root ::= "\"\\\n\x41\u00e9\U0001F600"', ['"\\\nAé😀'], []),
        ('root ::= call\ncall ::= "Call " name\nname ::= "Ada"', ["Call Ada"], ["Ada"]),
        ('root ::= "(" root ")" | ""', ["", "()", "((()))"], ["(", "(()"]),
        ('root ::= item (", " item)* "."?\nitem ::= "a" | "an" | "n"', ["a", "an, n.", "a, an, a"], ["a,", "ann"]),
        ('root ::= ("a"\n | # or\n "b")\n  ', ["a", "b"], []),
        ('root ::= "a"\n  | "b" # c\n\n  | "d"\nb ::= "e"', ["a", "b", "d"], ["c", "e"]),
        ('# of\r\nroot ::= a-1 |\r\n  "b"  # lines\r\n\r\na-1 ::= "a"', ["a", "b"], []),
    ],
)
def test_what_a_grammar_has(grammar: str, has: list[str], has_not: list[str]) -> None:
    for text in has:
        assert follows(grammar, text), text
    for text in has_not:
        assert not follows(grammar, text), text


def test_a_blank_before_the_text_may_be_left_out_of_it() -> None:
    assert follows('root ::= "a"', " a") and not follows('root ::= "a"', "  a")
    assert follows('root ::= " a"', " a") and not follows('root ::= " a"', "a")
    assert not follows('root ::= "a" "b"', " a b")


def test_another_rule_may_be_the_root() -> None:
    assert follows('root ::= "a"\nother ::= "b"', "b", "other")


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grammar", "why"),
    [
        ("", "has no rule 'root'"),
        ('a ::= "b"', "has no rule 'root'"),
        ('root "a"', "line 1, before '\"a\"': ::= is missing behind 'root'"),
        ("::= x", "line 1, before '::= x': a rule's name is expected"),
        ('root ::= "a\nb"', "line 1: a quotation mark is not closed"),
        ('root ::= "a', "line 1: a quotation mark is not closed"),
        ("\nroot ::= [a", "line 2: a bracket is not closed"),
        ("root ::= []", "line 1: a class without characters"),
        ("root ::= [b-a]", "b-a is no range"),
        ('root ::= ("a"\n\n', "line 1: a parenthesis is not closed"),
        ('root ::= "a" )', "line 1, before ')': this is no part of a rule"),
        ("root ::= * ", "this is no part of a rule"),
        ("root ::= a\n# nothing\nb ::= c", "line 1: there is no rule 'a'"),
        ('root ::= "a"\nroot ::= "b"', "line 2: the rule 'root' is there twice"),
        ('root ::= root "a"', "the rule 'root' begins with itself"),
        ('root ::= b? root "a"\nb ::= "b"', "the rule 'root' begins with itself"),
        ('root ::= a\na ::= b "x" | "y"\nb ::= a', "begins with itself"),
        ('root ::= "x" a\na ::= a', "the rule 'a' begins with itself"),
        ('root ::= ("a"?)*', "what is repeated with * or + may be empty"),
        (r'root ::= "\q"', r"\q is no character"),
        (r'root ::= "\x4"', r"\x is no character"),
        (r'root ::= "\ud800"', r"\u is no character"),
        (r'root ::= "\U00110000"', r"\U is no character"),
        ('root ::= "a"{2,1}', "a repetition is of 0 to 100, and not the other way round"),
        ('root ::= "a"{101}', "a repetition is of 0 to 100"),
        ('root ::= "a"{101,}', "a repetition is of 0 to 100"),
        ('root ::= "a"{,2}', "{m}, {m,} and {m,n} can be read"),
        ('root ::= "a\ud800"', "half of a character"),
    ],
)
def test_what_is_no_grammar(grammar: str, why: str) -> None:
    with pytest.raises(GrammarError) as error:
        parse(grammar, "root")
    assert why in str(error.value)


def test_errors_stay_short() -> None:
    name = "n" * 7_000
    for grammar in (name, f"root ::= {name}", f"{name} ::= {name}\nroot ::= {name}"):
        with pytest.raises(GrammarError) as error:
            parse(grammar, "root")
        assert len(str(error.value)) < 200


# --- bounds -------------------------------------------------------------------------------------------------


def test_characters() -> None:
    grammar = 'root ::= "a"'.ljust(MAX_CHARS)
    parse(grammar, "root")
    with pytest.raises(GrammarError, match=f"is {MAX_CHARS + 1} characters long"):
        parse(grammar + " ", "root")


def test_nesting() -> None:
    def nested(depth: int) -> str:
        return f'root ::= {"(" * depth}"a"{")" * depth}'

    assert follows(nested(MAX_NESTING), "a")
    with pytest.raises(GrammarError, match=f"more than {MAX_NESTING} parentheses"):
        parse(nested(MAX_NESTING + 1), "root")


def test_repetitions() -> None:
    assert follows(f'root ::= "a"{{{MAX_REPEATS}}}', "a" * MAX_REPEATS)
    assert follows(f'root ::= "a"{{0,{MAX_REPEATS}}}', "a" * MAX_REPEATS)
    assert not follows(f'root ::= "a"{{0,{MAX_REPEATS}}}', "a" * (MAX_REPEATS + 1))


def test_elements() -> None:
    # Of each rule, 100 elements and its end; and the root and what stands before it.
    fits = MAX_ELEMENTS // 103
    rules = "\n".join(f'r{n} ::= "a"{{100}}' for n in range(fits))
    assert len(rules) < MAX_CHARS
    parse(f"{rules}\nroot ::= r0", "root")
    with pytest.raises(GrammarError, match=f"has more than {MAX_ELEMENTS} elements"):
        parse(f"{rules}\nroot ::= r0" + ' "b"{100}' * 10, "root")


@pytest.mark.parametrize(
    "grammar",
    [
        "".join(f"r{n} ::= r{n + 1}\n" for n in range(700)) + 'r700 ::= ""\nroot ::= r0',
        "root ::= " + "[^a]" * 900,
        "root ::= " + '"a"?' * 1900,
        "root ::= " + "(" * 50 + '"a"' + ")?" * 50,
        "a ::= " * 1300,
        "root ::= " + "a |" * 2600,
        'root ::= "a"' + " #" * 2000,
        'root ::= "a"' + "#" * 4000 + "\n" * 2000 + "#" * 1900,
    ],
    ids=["long chain", "classes", "optional", "deep", "broken", "alternatives", "comments", "more comments"],
)
def test_no_grammar_takes_long_to_read(grammar: str) -> None:
    """Not a figure: what grows with the square or worse would take minutes."""
    begun = time.monotonic()
    with contextlib.suppress(GrammarError):
        parse(grammar[:MAX_CHARS], "root")
    assert time.monotonic() - begun < 10.0


@settings(max_examples=300)
@given(st.text(st.sampled_from('ab"|()[]*+?{},:=\n -^\\.#0r'), max_size=40), st.booleans())
def test_anything_is_a_grammar_or_refused(text: str, named: bool) -> None:
    try:
        grammar = parse(f"root ::= {text}" if named else text, "root")
    except GrammarError as error:
        assert str(error)
        return
    assert grammar.rules and grammar.elements[-1] is None


# --- against Python -----------------------------------------------------------------------------------------

LETTERS = "abé"


def both(draw: st.DrawFn, depth: int) -> tuple[str, str]:
    """The same in GBNF and as a regular expression; neither is empty where it is repeated."""
    kind = draw(
        st.sampled_from(["literal", "class", *(["or", "then", "some", "maybe", "times"] if depth else [])])
    )
    if kind == "literal":
        text = draw(st.text(st.sampled_from(LETTERS), min_size=1, max_size=3))
        return f'"{text}"', re.escape(text)
    if kind == "class":
        chars = "".join(sorted(set(draw(st.text(st.sampled_from(LETTERS), min_size=1, max_size=3)))))
        return (f"[{chars}]", f"[{chars}]") if draw(st.booleans()) else (f"[^{chars}]", f"[^{chars}]")
    first, second = both(draw, depth - 1), both(draw, depth - 1)
    # What is repeated is never empty: a letter stands before it.
    return {
        "or": (f"({first[0]} | {second[0]})", f"(?:{first[1]}|{second[1]})"),
        "then": (f"({first[0]} {second[0]})", f"(?:{first[1]}{second[1]})"),
        "some": (f'("a" {first[0]})+', f"(?:a{first[1]})+"),
        "maybe": (f"({first[0]})?", f"(?:{first[1]})?"),
        "times": (f"({first[0]}){{1,2}}", f"(?:{first[1]}){{1,2}}"),
    }[kind]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_regular_expressions_have_the_same_texts(data: st.DataObject) -> None:
    grammar, expression = data.draw(st.composite(both)(3))
    for _ in range(6):
        text = data.draw(st.text(st.sampled_from(LETTERS + "c"), max_size=8))
        assert follows(f"root ::= {grammar}", text) == bool(re.fullmatch(expression, text)), (grammar, text)


# --- characters as bytes ------------------------------------------------------------------------------------

CHARS = st.integers(0, LAST_CHAR)


def is_in(sequences: list[tuple[tuple[int, int], ...]], char: int) -> int:
    data = chr(char).encode()
    return sum(
        len(s) == len(data) and all(low <= byte <= high for (low, high), byte in zip(s, data, strict=True))
        for s in sequences
    )


@given(CHARS, CHARS, st.lists(CHARS, max_size=20))
def test_a_range_of_characters_is_one_of_bytes(one: int, other: int, more: list[int]) -> None:
    first, last = sorted((one, other))
    sequences = utf8(first, last)
    for char in (first, last, first - 1, last + 1, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, *more):
        if 0 <= char <= LAST_CHAR and not 0xD800 <= char <= 0xDFFF:
            assert is_in(sequences, char) == (first <= char <= last)  # and only once


def test_surrogates_are_no_characters() -> None:
    assert utf8(0xD800, 0xDFFF) == []
    assert len(utf8(0, LAST_CHAR)) < 12


@given(st.lists(st.tuples(CHARS, CHARS).map(lambda pair: tuple(sorted(pair))), max_size=5), CHARS)
def test_all_others(spans: list[tuple[int, int]], char: int) -> None:
    inside = any(first <= char <= last for first, last in spans)
    assert inside != any(first <= char <= last for first, last in others(spans))
