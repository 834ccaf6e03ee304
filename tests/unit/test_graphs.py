"""The ONNX graphs against Whisper in float64 numpy, over weights that mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from convert_model import quantise, tail
from convert_model.bundle import Recipe, write_bundle
from convert_model.weights import Weights
from reference_model import ReferenceWhisper
from tiny_bundle import tiny_weights
from whisperd.speech.bundle import load_manifest
from whisperd.speech.model import WhisperModel
from whisperd.speech.types import Float32Array

SIZES = {"heads": 2, "audio_layers": 2, "text_layers": 2, "audio_ctx": 60, "text_ctx": 24, "mels": 8}
TOKENS = (5, 9, 200, 3, 77)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return tiny_weights(tmp_path_factory.mktemp("weights"), **SIZES)


@pytest.fixture(scope="module")
def reference(weights: Weights) -> ReferenceWhisper:
    return ReferenceWhisper(weights.tensors, weights.dims.n_head)


def build(weights: Weights, folder: Path, precision: str = "fp32", stride: int = 4) -> WhisperModel:
    write_bundle(weights, Recipe("random", precision, stride), folder / "bundle")
    return WhisperModel(folder / "bundle", load_manifest(folder / "bundle"), threads=1)


def noise(frames: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(3).normal(0.0, 0.5, (SIZES["mels"], frames)).astype(np.float32)


def padded(mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """With silence up to the whole context, as the reference would see it."""
    whole = np.full((mel.shape[0], 2 * SIZES["audio_ctx"]), tail.SILENCE)
    whole[:, : mel.shape[1]] = mel
    return whole


def test_full_context_is_the_reference(weights: Weights, reference: ReferenceWhisper, tmp_path: Path) -> None:
    model = build(weights, tmp_path)
    mel = noise(2 * SIZES["audio_ctx"])
    hypothesis = model.start(model.encode(mel))
    got = model.step(hypothesis, TOKENS, range(len(TOKENS)))
    np.testing.assert_allclose(got, reference.logits(reference.encode(mel), TOKENS), atol=2e-4)


def test_steps_with_a_past_equal_one_call(weights: Weights, tmp_path: Path) -> None:
    model = build(weights, tmp_path)
    cross = model.encode(noise(40))
    whole = model.step(model.start(cross), TOKENS, range(len(TOKENS)))
    hypothesis = model.start(cross)
    first = model.step(hypothesis, TOKENS[:2], (0, -1))
    rest = [model.step(hypothesis, [token])[0] for token in TOKENS[2:]]
    np.testing.assert_allclose(np.stack([*first, *rest]), whole, atol=1e-5)


@pytest.mark.parametrize("frames", [2, 38, 40, 42, 118, 120])
def test_tail_of_every_position_is_exact_for_silence(weights: Weights, tmp_path: Path, frames: int) -> None:
    """A row for every position and silence before it: nothing is approximated but the seam."""
    model = build(weights, tmp_path, stride=1)
    silence = np.full((SIZES["mels"], frames), tail.SILENCE, np.float32)
    keys = model.encode(silence)["ck0"].numpy()
    whole = model.encode(padded(silence).astype(np.float32))["ck0"].numpy()
    assert keys.shape == whole.shape
    # The convolution sees the end of its input one position early; everything else is float16's rounding.
    seam = frames // 2 - 1
    apart = np.delete(np.abs(keys - whole), [seam], axis=2)
    assert apart.max() < 0.02


@pytest.mark.parametrize(("frames", "rows"), [(2, 1 + 3), (32, 16 + 3), (34, 17 + 2), (120, 60)])
def test_tail_begins_behind_the_real_positions(weights: Weights, tmp_path: Path, frames: int, rows: int) -> None:
    model = build(weights, tmp_path, stride=16)
    assert model.encode(noise(frames))["cv1"].numpy().shape[2] == rows


def test_tail_rows_weigh_as_many_positions_as_they_stand_for(weights: Weights, tmp_path: Path) -> None:
    """Where the tail's rows are alike, one row that stands for ten must do what ten rows do."""
    flat = dict(weights.tensors)
    flat["encoder.positional_embedding"] = np.zeros_like(flat["encoder.positional_embedding"])
    # The convolution sees the end of the context at the last position: the only row that is not alike.
    logits = []
    for stride in (1, 10):
        model = build(replace(weights, tensors=flat), tmp_path / str(stride), stride=stride)
        logits.append(model.step(model.start(model.encode(noise(40))), TOKENS, range(len(TOKENS))))
    blind = ReferenceWhisper(flat, weights.dims.n_head)
    no_tail = blind.logits(blind.encode(noise(40).astype(np.float64)), TOKENS)
    assert np.abs(logits[1] - logits[0]).max() < 0.02 * np.abs(no_tail - logits[0]).max()


def test_int8_is_near_float(weights: Weights, tmp_path: Path) -> None:
    mel = noise(60)
    logits = []
    for precision in ("fp32", "int8"):
        model = build(weights, tmp_path / precision, precision)
        logits.append(model.step(model.start(model.encode(mel)), TOKENS, range(len(TOKENS))))
    spread = logits[0].std()
    error = np.abs(logits[1] - logits[0])
    assert 0.0 < error.max() < 0.25 * spread


def test_context_is_bounded(weights: Weights, tmp_path: Path) -> None:
    model = build(weights, tmp_path)
    hypothesis = model.start(model.encode(noise(20)))
    model.step(hypothesis, [1] * SIZES["text_ctx"])
    with pytest.raises(ValueError, match="25 tokens exceed a context of 24"):
        model.step(hypothesis, [1])
    with pytest.raises(ValueError, match="exceed"):
        model.step(model.start(model.encode(noise(20))), [])


def test_silence_of_the_tail_is_the_features_silence() -> None:
    from whisperd.speech.features import silence_value

    assert silence_value(tail.LOUDEST) == tail.SILENCE


def test_where_tokens_look_is_the_reference_s(
    weights: Weights, reference: ReferenceWhisper, tmp_path: Path
) -> None:
    model = build(weights, tmp_path)
    mel = noise(2 * SIZES["audio_ctx"])
    hypothesis = model.start(model.encode(mel), attend=True)
    model.step(hypothesis, TOKENS[:3])
    for token in TOKENS[3:]:
        model.step(hypothesis, [token])
    assert hypothesis.attention is not None
    got = np.stack(hypothesis.attention)
    expected = reference.attention(reference.encode(mel), TOKENS)  # [layer][S, heads, positions]
    heads = model.manifest.alignment_heads
    np.testing.assert_allclose(got, np.stack([expected[layer][:, h] for layer, h in heads], axis=1), atol=1e-4)


def test_rewinding_takes_tokens_back(weights: Weights, tmp_path: Path) -> None:
    model = build(weights, tmp_path)
    cross = model.encode(noise(40))
    whole, again = (model.start(cross, attend=True) for _ in range(2))
    logits = model.step(whole, TOKENS, range(len(TOKENS)))
    model.step(again, [*TOKENS[:2], 17, 18, 19])
    model.rewind(again, 2)
    np.testing.assert_allclose(model.step(again, TOKENS[2:], range(3)), logits[2:], atol=1e-5)
    assert whole.attention is not None and again.attention is not None
    np.testing.assert_allclose(np.stack(again.attention), np.stack(whole.attention), atol=1e-5)
    for wrong in (0, 6):
        with pytest.raises(ValueError, match="of 5 tokens"):
            model.rewind(again, wrong)


#: Three decodings of a batch: how they go on after the first two of TOKENS.
FORKS = ((200, 3, 77), (17, 200, 3), (3, 3, 250))


def single(model: WhisperModel, cross: object, tokens: Sequence[int]) -> Float32Array:
    return model.step(model.start(cross), tokens, range(len(tokens)))  # type: ignore[arg-type]


def test_a_batch_gives_what_each_decoding_gives_alone(weights: Weights, tmp_path: Path) -> None:
    model = build(weights, tmp_path)
    cross = model.encode(noise(40))
    batch = model.start(cross, attend=True)
    model.step(batch, TOKENS[:2])
    model.reorder(batch, [0, 0, 0])
    first = model.step_batch(batch, np.array(FORKS)[:, :2], (0, 1))
    last = model.step_batch(batch, np.array(FORKS)[:, 2:])
    assert batch.attentions is not None
    for j, fork in enumerate(FORKS):
        alone = model.start(cross, attend=True)
        expected = model.step(alone, [*TOKENS[:2], *fork], range(5))
        np.testing.assert_allclose(np.concatenate([first[j], last[j]]), expected[2:], atol=1e-5)
        assert alone.attention is not None
        np.testing.assert_allclose(np.stack(batch.attentions[j]), np.stack(alone.attention), atol=1e-5)


def test_a_batch_is_reordered_and_rewound(weights: Weights, tmp_path: Path) -> None:
    model = build(weights, tmp_path)
    cross = model.encode(noise(40))
    batch = model.start(cross, attend=True)
    model.step(batch, TOKENS[:2])
    model.reorder(batch, [0, 0, 0])
    model.step_batch(batch, np.array(FORKS))
    model.reorder(batch, [2, 1, 2, 0])
    model.rewind(batch, 4)
    assert (batch.size, batch.position) == (4, 4)
    got = model.step_batch(batch, np.array([[9], [10], [11], [12]]))[:, 0]
    assert batch.attentions is not None
    for j, (fork, token) in enumerate(zip((2, 1, 2, 0), (9, 10, 11, 12), strict=True)):
        alone = model.start(cross, attend=True)
        expected = model.step(alone, [*TOKENS[:2], *FORKS[fork][:2], token])[0]
        np.testing.assert_allclose(got[j], expected, atol=1e-5)
        np.testing.assert_allclose(np.stack(batch.attentions[j]), np.stack(alone.attention or []), atol=1e-5)
    for wrong in ([], [4], [-1]):
        with pytest.raises(ValueError, match="no members of a batch of 4"):
            model.reorder(batch, wrong)
    with pytest.raises(ValueError, match=r"tokens of shape \(3, 1\) for a batch of 4"):
        model.step_batch(batch, np.array([[1], [2], [3]]))


def test_an_int8_batch_is_as_near_to_each_decoding_as_int8_is_to_float(weights: Weights, tmp_path: Path) -> None:
    """Activations are quantised per tensor, so members of a batch share a scale: they are not quite as alone."""
    exact, model = build(weights, tmp_path / "fp32"), build(weights, tmp_path / "int8", "int8")
    mel = noise(40)
    cross = model.encode(mel)
    batch = model.start(cross)
    model.step(batch, TOKENS[:2])
    model.reorder(batch, [0, 0, 0])
    got = model.step_batch(batch, np.array(FORKS), range(3))
    for j, fork in enumerate(FORKS):
        tokens = [*TOKENS[:2], *fork]
        alone = single(model, cross, tokens)[2:]
        true = single(exact, exact.encode(mel), tokens)[2:]
        assert np.abs(got[j] - true).mean() < 1.5 * np.abs(alone - true).mean()


def with_wild_units(weights: Weights) -> Weights:
    """One hidden unit of each side has a hundred times the others' activation, for every token."""
    tensors = dict(weights.tensors)
    for block in ("encoder.blocks.1", "decoder.blocks.0"):
        tensors[f"{block}.mlp.0.bias"] = tensors[f"{block}.mlp.0.bias"].copy()
        tensors[f"{block}.mlp.0.bias"][7] = 600.0
        # What it adds is no more than the others do.
        tensors[f"{block}.mlp.2.weight"] = tensors[f"{block}.mlp.2.weight"].copy()
        tensors[f"{block}.mlp.2.weight"][:, 7] *= 1e-3
    return replace(weights, tensors=tensors)


def test_wild_units_do_not_spoil_the_others(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = with_wild_units(weights)
    reference = ReferenceWhisper(wild.tensors, wild.dims.n_head)
    mel = noise(2 * SIZES["audio_ctx"])
    right = reference.logits(reference.encode(mel), TOKENS)

    def errors(name: str) -> tuple[float, float]:
        """Mean over the tokens together, and one by one."""
        model = build(wild, tmp_path / name, "int8")
        cross = model.encode(mel)
        together = model.step(model.start(cross), TOKENS, range(len(TOKENS)))
        hypothesis = model.start(cross)
        single = np.concatenate([model.step(hypothesis, [token]) for token in TOKENS])
        return float(np.abs(together - right).mean()), float(np.abs(single - right).mean())

    apart = errors("apart")
    monkeypatch.setattr(quantise, "WILD", np.inf)
    spoilt = errors("spoilt")
    assert apart[0] < spoilt[0] / 5 and apart[1] < spoilt[1] / 5


def test_wild_units_are_told_by_the_weights() -> None:
    luck = np.random.default_rng(1)
    weight, bias = luck.normal(0, 0.05, (32, 16)), np.zeros(32)
    gamma, beta = np.ones(16), np.zeros(16)
    assert quantise.wild_units(weight, bias, gamma, beta).tolist() == []
    weight[3] *= 200  # a spread that reaches far
    bias[9], bias[10] = quantise.WILD + 1, -100.0  # a high mean; a low one is cut off by the activation function
    assert quantise.wild_units(weight, bias, gamma, beta).tolist() == [3, 9]
    # What the normalisation takes away is not wild.
    assert quantise.wild_units(weight, bias, gamma * 1e-3, beta).tolist() == [9]
    beta[:] = 10.0
    weight[:], weight[5] = 0.0, 0.2
    assert quantise.wild_units(weight, bias, gamma * 1e-3, beta).tolist() == [5, 9]
