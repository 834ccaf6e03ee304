"""Which decodings of a window are tried, and which one is kept; the search itself is a table here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_decoding import Script
from whisperd.speech.attempts import Ask, Attempts, Found, Stopwatch, Window
from whisperd.speech.decoding import Decoded
from whisperd.speech.options import Options
from whisperd.speech.types import Known, Unattended

STRAIGHT = tuple(range(1, 30))
ROUND = tuple(n % 4 for n in range(200))
WINDOW = Window(np.zeros((80, 300), np.float32), 100, 3.0)


class Plain:
    """Tokens to text, a letter each."""

    def decode(self, tokens: Any) -> str:
        return " ".join(f"w{token}" for token in tokens)


class Table(Attempts):
    """Decodes by table: (temperature, whether over the full context) to tokens, mean, and whether it ended."""

    def __init__(self, table: dict[tuple[float, bool], tuple[tuple[int, ...], float, bool]]) -> None:
        super().__init__(Script(lambda n: [9]), Plain())  # type: ignore[arg-type]
        self.table = table
        self.encoded: list[bool] = []
        self.decoded: list[tuple[float, bool]] = []

    def encode(self, window: Window, ask: Ask, *, full: bool) -> dict[str, Any]:
        self.encoded.append(full)
        return {"full": full}

    def decode(
        self,
        cross: dict[str, Any],
        window: Window,
        ask: Ask,
        *,
        full: bool,
        attend: bool = False,
        temperature: float = 0.0,
    ) -> Decoded:
        assert cross["full"] == full
        self.decoded.append((temperature, full))
        tokens, mean, ended = self.table[temperature, full]
        return Decoded(tokens, mean, 0.1, ended, (mean,) * len(tokens), sequence=tokens, temperature=temperature)


def find(attempts: Attempts, last: bool = True, known: Known = Known(), **options: Any) -> Found:  # noqa: B008
    ask = Ask("en", "transcribe", Unattended(), Stopwatch(), known, Options(**options))
    return attempts.find(WINDOW, ask, last=last)


def test_a_text_that_is_one_needs_one_decoding() -> None:
    attempts = Table({(0.0, False): (STRAIGHT, -0.3, True)})
    found = find(attempts)
    assert (found.tokens, found.fallbacks, found.language) == (STRAIGHT, 0, "en")
    assert (attempts.encoded, attempts.decoded) == ([False], [(0.0, False)])


def test_what_does_not_end_is_decoded_over_the_full_context() -> None:
    attempts = Table({(0.0, False): (ROUND, -0.1, False), (0.0, True): (STRAIGHT, -0.3, True)})
    found = find(attempts)
    assert (found.tokens, found.fallbacks) == (STRAIGHT, 1)
    assert attempts.encoded == [False, True]


def test_and_so_is_what_begins_again_at_its_end() -> None:
    twice = (*STRAIGHT, *STRAIGHT)
    attempts = Table({(0.0, False): (twice, -0.1, True), (0.0, True): (STRAIGHT, -0.3, True)})
    found = find(attempts)
    assert (found.tokens, found.fallbacks, attempts.encoded) == (STRAIGHT, 1, [False, True])
    # Who really says it twice has it twice.
    attempts = Table({(0.0, False): (twice, -0.1, True), (0.0, True): (twice, -0.2, True)})
    assert find(attempts, temperature=(0.0,)).tokens == twice


def test_but_not_before_the_last_pass_nor_where_the_cap_is_a_wish() -> None:
    for more in ({"last": False}, {"max_new_tokens": 29}):
        attempts = Table({(0.0, False): (STRAIGHT, -0.3, False)})
        found = find(attempts, **more)  # type: ignore[arg-type]
        assert (found.tokens, found.fallbacks, attempts.encoded) == (STRAIGHT, 0, [False])


def test_a_loop_over_the_full_context_too_is_cut() -> None:
    attempts = Table({(0.0, False): (ROUND, -0.1, False), (0.0, True): (ROUND, -0.1, False)})
    found = find(attempts)
    assert found.tokens == (0, 1, 2, 3)
    assert found.decoded.tokens == ROUND
    assert found.text == "w0 w1 w2 w3"


def test_what_stands_is_not_cut() -> None:
    attempts = Table({(0.0, False): (ROUND, -0.1, False)})
    assert find(attempts, last=False, known=Known(ROUND[:30], (-0.1,) * 30)).tokens == ROUND[:30]


@pytest.mark.parametrize("most", [0.4, 1.0])
def test_temperatures_rise_until_a_text_looks_like_one(most: float) -> None:
    table = {(t, False): (STRAIGHT, -1.5 if t < most else -0.9, True) for t in (0.0, 0.2, 0.4, 0.8, 1.0)}
    attempts = Table(table)
    found = find(attempts, temperature=(0.0, 0.2, 0.4, 0.8, 1.0))
    tried = [t for t in (0.0, 0.2, 0.4, 0.8, 1.0) if t <= most]
    assert [t for t, _ in attempts.decoded] == tried
    assert found.fallbacks == len(tried) - 1
    assert found.decoded.temperature == most
    assert attempts.encoded == [False]


def test_a_text_that_repeats_itself_gives_way_to_one_that_does_not_however_sure_it_is() -> None:
    attempts = Table(
        {
            (0.0, False): (ROUND, -0.05, True),
            (0.0, True): (ROUND, -0.04, True),
            (0.4, True): (STRAIGHT, -0.6, True),
        }
    )
    found = find(attempts)
    assert (found.tokens, found.fallbacks, found.decoded.temperature) == (STRAIGHT, 2, 0.4)


def test_and_not_the_other_way_round() -> None:
    attempts = Table({(0.0, False): (STRAIGHT, -1.2, True), (0.4, False): (ROUND, -0.05, True)})
    assert find(attempts).tokens == STRAIGHT


def test_of_improbable_texts_the_most_probable_counts() -> None:
    attempts = Table(
        {(0.0, False): (STRAIGHT, -1.4, True), (0.4, False): ((1,), -1.2, True), (0.8, False): ((2,), -1.3, True)}
    )
    found = find(attempts, temperature=(0.0, 0.4, 0.8))
    assert (found.tokens, found.fallbacks) == ((1,), 2)


def test_a_higher_temperature_that_does_not_end_is_not_taken() -> None:
    attempts = Table({(0.0, False): (STRAIGHT, -1.4, True), (0.4, False): ((1,), -1.1, False)})
    assert find(attempts).tokens == STRAIGHT


def test_thresholds_that_are_none_ask_for_no_other_try() -> None:
    attempts = Table({(0.0, False): (STRAIGHT * 3, -9.0, True), (0.0, True): (STRAIGHT * 3, -9.0, True)})
    assert find(attempts, log_prob_threshold=None, compression_ratio_threshold=None).tokens == STRAIGHT * 3
    assert [temperature for temperature, _ in attempts.decoded] == [0.0, 0.0]


def test_a_first_temperature_over_zero() -> None:
    attempts = Table({(0.6, False): (STRAIGHT, -0.3, True)})
    assert find(attempts, temperature=(0.6,)).decoded.temperature == 0.6


def test_a_language_is_detected_over_what_is_encoded_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Table({(0.0, False): (STRAIGHT, -0.3, True)})
    monkeypatch.setattr(attempts.decoder, "languages", lambda *_: (("de", 0.9), ("en", 0.1)))
    ask = Ask("auto", "transcribe", Unattended(), Stopwatch(), allowed=("en", "de"))
    found = attempts.find(WINDOW, ask)
    assert (found.language, found.languages) == ("de", (("de", 0.9), ("en", 0.1)))
    assert len(attempts.encoded) == 1
    alone = attempts.find(WINDOW, Ask("auto", "transcribe", Unattended(), Stopwatch(), allowed=("fr",)))
    assert (alone.language, alone.languages) == ("fr", (("fr", 1.0),))
