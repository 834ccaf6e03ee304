"""A text that follows a grammar: which tokens may come, what becomes of their probabilities, and every bound."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from grammars import BYTES, follows, spelling
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.errors import BadOption
from whisperd.speech import constraint
from whisperd.speech.constraint import Constraint
from whisperd.speech.gbnf import parse
from whisperd.speech.options import FORBIDDEN
from whisperd.speech.tokenizer import Tokenizer

WORDS = [b"", b" ", b"a", b"b", b"ab", b" a", b" b", b"bc", b"abc", b"\xc3", b"\xa9", b"\xc3\xa9", b"."]
EOT = len(WORDS)
TIME = EOT + 2
NEVER = -np.inf


def following(grammar: str, penalty: float = FORBIDDEN) -> Constraint:
    return Constraint(parse(grammar, "root"), spelling(WORDS), penalty)


def scores(**given: float) -> np.ndarray:
    found = np.full(TIME + 3, -5.0, np.float32)
    for name, value in given.items():
        found[{"eot": EOT, "time": TIME}.get(name) or WORDS.index(name.encode())] = value
    return found


def may_come(grammar: str, *chosen: bytes) -> set[bytes]:
    limited = following(grammar).apply(scores(), [WORDS.index(word) for word in chosen])
    found = {WORDS[token] for token in range(EOT) if limited[token] > NEVER}
    return found | ({b"END"} if limited[EOT] > NEVER else set())


@pytest.mark.parametrize(
    ("grammar", "chosen", "allowed"),
    [
        ('root ::= "abc"', [], {b" ", b" a", b"a", b"ab", b"abc"}),
        ('root ::= "abc"', [b" "], {b"a", b"ab", b"abc"}),
        ('root ::= "abc"', [b" a"], {b"b", b"bc"}),
        ('root ::= "abc"', [b"abc"], {b"END"}),
        ('root ::= " abc"', [], {b" ", b" a"}),
        ('root ::= "a" | "b"+', [b"b"], {b"b", b"END"}),
        ('root ::= "é"', [], {b" ", b"\xc3", b"\xc3\xa9"}),
        ('root ::= "é"', [b"\xc3"], {b"\xa9"}),
        ("root ::= [^ab ]", [b" "], {b"\xc3", b"\xc3\xa9", b"."}),
        ('root ::= ("a" | "b")* "."?', [b"ab"], {b"a", b"b", b"ab", b".", b"END"}),
        ('root ::= "a"?', [], {b"a", b" a", b" ", b"END"}),
    ],
)
def test_what_may_come(grammar: str, chosen: list[bytes], allowed: set[bytes]) -> None:
    assert may_come(grammar, *chosen) == allowed


def test_what_may_come_keeps_its_probability_and_the_rest_never_comes() -> None:
    told = scores(a=-2.0, b=-0.5, eot=-1.0)
    limited = following('root ::= "ab"').apply(told, [])
    assert limited[WORDS.index(b"a")] == -2.0
    assert limited[WORDS.index(b"b")] == limited[EOT] == NEVER
    assert told[EOT] == -1.0  # what was given is left alone


def test_a_penalty_is_taken_from_the_rest() -> None:
    limited = following('root ::= "ab"', 3.0).apply(scores(a=-2.0, b=-0.5, eot=-1.0), [])
    assert [limited[WORDS.index(word)] for word in (b"a", b"b")] == [-2.0, -3.5]
    assert limited[EOT] == -4.0
    assert following('root ::= "ab"', 0.0).apply(scores(b=-0.5), [])[WORDS.index(b"b")] == -0.5


def test_who_has_left_the_grammar_is_on_his_own() -> None:
    told = scores(a=-2.0)
    np.testing.assert_array_equal(following('root ::= "ab"', 3.0).apply(told, [WORDS.index(b"b")]), told)


def test_times_are_no_part_of_the_text() -> None:
    told = scores(time=-0.1)
    limited = following('root ::= "ab"').apply(told, [TIME, WORDS.index(b"a"), TIME + 1])
    assert limited[TIME] == told[TIME]
    assert [WORDS[token] for token in range(EOT) if limited[token] > NEVER] == [b"b", b"bc"][:1]


def test_where_other_rules_forbid_all_that_may_come_the_text_ends() -> None:
    told = scores()
    told[[WORDS.index(word) for word in (b"a", b"ab", b"abc", b" a", b" ")]] = NEVER
    told[EOT + 1 :] = NEVER
    limited = following('root ::= "abc"').apply(told, [])
    assert int(limited.argmax()) == EOT and limited[EOT] == told[EOT]
    told[EOT] = NEVER
    limited = following('root ::= "abc"').apply(told, [])
    assert int(limited.argmax()) == EOT and limited[EOT] == -FORBIDDEN


@cache
def short_texts(grammar: str) -> frozenset[bytes]:
    """Of a few bytes, those that are whole in a grammar; of seven, if they have two letters."""
    alphabet = [b"a", b"b", b"c", b".", b" ", b"\xc3\xa9", b"("]
    limiter = Constraint(parse(grammar, "root"), BYTES)
    return frozenset(
        text
        for count in range(7)
        for letters in itertools.product(alphabet, repeat=count)
        if (count < 5 or len(set(letters)) <= 2) and () in limiter.state(list(text := b"".join(letters)))
    )


GRAMMARS = [
    'root ::= "ab" | "abc" "."',
    'root ::= ("a" | "b" "c"?)* "."',
    'root ::= "(" | "a" root "b" | "."',
    "root ::= [^a] [ab]?",
    'root ::= "a" {1,2} "é"?',
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(GRAMMARS), st.lists(st.integers(0, 99), max_size=3))
def test_a_token_may_come_with_which_the_text_can_still_be_whole(grammar: str, picks: list[int]) -> None:
    """Asked the other way: of all texts of a few bytes."""
    limiter, chosen = following(grammar), []
    for pick in [*picks, 0]:
        limited = limiter.apply(scores(), chosen)
        said = b"".join(WORDS[token] for token in chosen)
        for token, word in enumerate(WORDS):
            if word and any(text.startswith(said + word) for text in short_texts(grammar)):
                assert limited[token] > NEVER, (said, word)
        assert (limited[EOT] > NEVER) == follows(grammar, said)
        fits = [token for token in range(EOT) if limited[token] > NEVER]
        if not fits:
            break
        chosen.append(fits[pick % len(fits)])


def test_a_text_that_nobody_has_asked_about_before() -> None:
    """As after many others, or where a beam has gone back."""
    limiter = following('root ::= ("ab" | "b")*')
    text = [WORDS.index(b"ab"), WORDS.index(b"b")] * 60
    direct = limiter.state(text)
    for _ in range(constraint._TEXTS + 5):
        limiter.state([WORDS.index(b"b")] * (1 + _))
    assert limiter.state(text) == direct
    assert len(limiter._texts) == constraint._TEXTS
    assert limiter.state(text[:3]) == following('root ::= ("ab" | "b")*').state(text[:3])


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constraint, "_STEPS_SIZE", 50)
    monkeypatch.setattr(constraint, "_MASKS", 3)
    monkeypatch.setattr(constraint, "_TEXTS", 3)
    limiter = following("root ::= [ab]{9} [ab.]*")
    chosen: list[int] = []
    for word in [b"a", b"ab", b"b"] * 8:
        limited = limiter.apply(scores(), chosen)
        assert limited[WORDS.index(word)] > NEVER
        chosen.append(WORDS.index(word))
        assert len(limiter._masks) <= 3 and len(limiter._texts) <= 3
        assert sum(1 + sum(map(len, state)) for state in limiter._steps.values()) <= 50


# --- bounds of what is followed -----------------------------------------------------------------------------


def test_a_thousand_names_can_be_followed_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def names(count: int) -> str:
        return "root ::= " + "|".join(f'"{n:x}"' for n in range(count))

    assert follows(names(1_200), "2a")
    monkeypatch.setattr(constraint, "MAX_WAYS", 101)
    follows(names(99), "2a")  # and two more for the blank before it
    with pytest.raises(BadOption, match="too many ways") as error:
        follows(names(100), "2a")
    assert error.value.name == "grammar"


def test_what_lies_too_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    nested = 'root ::= "a" root "b" | "c"'
    assert follows(nested, "a" * 40 + "c" + "b" * 40)
    monkeypatch.setattr(constraint, "MAX_SIZE", 50)
    with pytest.raises(BadOption, match="too deep"):
        follows(nested, "a" * 40 + "c" + "b" * 40)
    assert follows('root ::= "a" root | "c"', "a" * 400 + "c"), "what is behind is nothing: this is not deep"


def test_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = following("root ::= [ab]*")
    limiter.apply(scores(), [])
    limiter = following("root ::= [ab]*")
    monkeypatch.setattr(constraint, "MAX_WORK", 3)
    with pytest.raises(BadOption, match="takes too long"):
        limiter.apply(scores(), [])


# --- the real vocabulary ------------------------------------------------------------------------------------


def test_with_whispers_own_tokens(base: Path) -> None:
    tokenizer = Tokenizer(base, 50_257)
    limiter = Constraint(parse('root ::= "Turn " ("on" | "off") "."', "root"), tokenizer.spelling)
    zeros = np.zeros(51_865, np.float32)

    def allowed(chosen: list[int]) -> set[str]:
        limited = limiter.apply(zeros, chosen)
        return {tokenizer.decode([int(token)]) for token in np.flatnonzero(limited[:50_257] > NEVER)}

    assert (
        {" Turn", " T", "Turn", " "}
        <= allowed([])
        <= {" ", " T", " Tu", " Tur", " Turn", *("T", "Tu", "Tur", "Turn")}
    )
    assert allowed(tokenizer.encode(" Turn")) == {" ", " o", " on", " of", " off"}
    assert allowed(tokenizer.encode(" Turn on")) == {"."}
    assert allowed(tokenizer.encode(" Turn on.")) == set()
    # Every token that is a whole character or more may begin anything.
    anything = Constraint(parse("root ::= .*", "root"), tokenizer.spelling).apply(zeros, [])
    assert int((anything[:50_257] > NEVER).sum()) > 49_000
