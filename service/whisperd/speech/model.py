"""Whisper's networks over ONNX Runtime: the one seam behind which inference sits.

Shapes use L for audio positions (20 ms each, two mel frames), S for tokens in one call, P for tokens before, B for
the decodings of one batch.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ..errors import BundleError
from .bundle import Manifest
from .types import Float32Array

#: The bundle's graphs, by the names of their files; and those of them with many operators to a run.
GRAPHS = ("encoder", "decoder", "head")
_MANY_OPERATORS = ("decoder", "encoder")

#: ONNX Runtime's level for "errors only": its warnings about hand-made graphs are not for operators.
_LOG_ERRORS = 3


@dataclass
class Hypothesis:
    """Decodings in progress over one audio, all of one length: what they read, and their keys and values so far.

    Attributes:
        position: tokens already decoded, P.
        size: how many decodings there are, B; one to begin with, see `WhisperModel.reorder`.
        attentions: where the tokens of each decoding looked, if that is kept: of each token float32[heads, K] for
            the bundle's alignment heads, over K audio positions, those of the tail last; a row's weights sum to 1.
    """

    feeds: dict[str, Any]
    position: int = 0
    size: int = 1
    attentions: list[list[Float32Array]] | None = None

    @property
    def attention(self) -> list[Float32Array] | None:
        """Where the tokens of the first decoding looked, if that is kept."""
        return None if self.attentions is None else self.attentions[0]


class WhisperModel:
    """The encoder, the decoder and the decoder's head of one bundle.

    Args:
        bundle: folder whose files have been verified.
        manifest: what it says of itself.
        threads: threads of one inference, at least 1.
        awake: how they wait for each other, see `wait_awake`.

    Attributes:
        awake: how they wait.

    Raises:
        BundleError: ONNX Runtime does not take the graphs.
    """

    def __init__(self, bundle: Path, manifest: Manifest, threads: int, *, awake: bool = False) -> None:
        self.manifest = manifest
        self.awake = awake
        d = manifest.dimensions
        self._bundle, self._threads = bundle, threads
        self._loaded = self._versions()
        self._encoder = self._session("encoder", awake)
        self._decoder = self._session("decoder", awake)
        self._head = self._session("head", awake)
        self._cross_names = [output.name for output in self._encoder.get_outputs()]
        self._layers = range(d.n_text_layer)
        self._step_names = ["hidden", *(f"n{kind}{i}" for i in self._layers for kind in "kv")]
        self._aligned = sorted({layer for layer, _ in manifest.alignment_heads})
        self._query_names = [f"cq{layer}" for layer in self._aligned]
        quantised = manifest.precision != "fp32"
        self._embedding = _Rows(bundle / "embedding.data", np.dtype(np.int8 if quantised else "<f4"), d.n_state)
        self._scale = _Rows(bundle / "embedding.scale", np.dtype("<f4"), 1) if quantised else None
        self._positions = np.fromfile(bundle / "position.data", "<f2").reshape(d.n_text_ctx, d.n_state)
        head = d.n_state // d.n_head
        self._no_past = ort.OrtValue.ortvalue_from_numpy(np.zeros((1, d.n_head, 0, head), np.float32))

    def wait_awake(self, awake: bool) -> None:
        """Change how threads wait for each other within a run: awake, which is faster, or asleep, which leaves the
        cores to others. Between runs they sleep. The graphs are loaded again for it; nothing else changes.

        Raises:
            BundleError: they cannot be, or are others by now. Then all is as it was.
        """
        if awake == self.awake:
            return
        if self._versions() != self._loaded:
            raise BundleError(f"the files of {self._bundle} have changed since they were loaded")
        # One after the other, so that no more than one is there twice. The head is one operator, and gains
        # nothing.
        for name in _MANY_OPERATORS:
            setattr(self, f"_{name}", self._session(name, awake))
        self.awake = awake

    def _session(self, name: str, awake: bool) -> ort.InferenceSession:
        awake = awake and name in _MANY_OPERATORS
        # A step of the decoder is a hundred small operators: to wake threads for each costs what they save.
        threads = 1 if name == "decoder" and not awake else self._threads
        try:
            return ort.InferenceSession(str(self._bundle / f"{name}.onnx"), _options(threads, awake))
        except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
            raise BundleError(f"ONNX Runtime {ort.__version__} cannot load {self._bundle}: {error}") from error

    def _versions(self) -> list[tuple[int, ...]]:
        """What tells the graphs' files from others of the same names."""
        found: list[tuple[int, ...]] = []
        for name in GRAPHS:
            for suffix in ("onnx", "data"):
                try:
                    of = (self._bundle / f"{name}.{suffix}").stat()
                except OSError as error:
                    raise BundleError(f"cannot read {error.filename}: {error.strerror}") from error
                found.append((of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns))
        return found

    def encode(self, mel: Float32Array, run_options: Any = None) -> dict[str, Any]:
        """Run the encoder.

        Args:
            mel: float32[n_mels, T], normalised, T even and at most 2 * n_audio_ctx. Below that the silent
                tail stands for the rest of the 30 s.
            run_options: an onnxruntime.RunOptions or None.

        Returns:
            The cross-attention keys and values of each decoder layer, as the decoder takes them.
        """
        values = self._encoder.run_with_ort_values(
            self._cross_names, {"mel": ort.OrtValue.ortvalue_from_numpy(mel[None])}, run_options
        )
        return dict(zip(self._cross_names, values, strict=True))

    def start(self, cross: dict[str, Any], *, attend: bool = False) -> Hypothesis:
        """Begin a decoding over what `encode` gave; any number may begin over the same.

        `attend` keeps where its tokens look. That is computed here, and not in the graph, at no cost to others.
        """
        feeds = dict(cross)
        for i in self._layers:
            feeds[f"pk{i}"] = feeds[f"pv{i}"] = self._no_past
        return Hypothesis(feeds, attentions=[[]] if attend else None)

    def rewind(self, hypothesis: Hypothesis, position: int) -> None:
        """Take back all tokens of each decoding but the first `position`."""
        if not 0 < position <= hypothesis.position:
            raise ValueError(f"{position} of {hypothesis.position} tokens")
        self._replace_past(hypothesis, lambda past: past[:, :, :position])
        hypothesis.position = position
        for looked in hypothesis.attentions or ():
            del looked[position:]

    def reorder(self, hypothesis: Hypothesis, sources: Sequence[int]) -> None:
        """Make a batch, in place, whose decoding j goes on from what is decoding sources[j] now.

        Some may be continued several times and some not at all, so a batch grows and shrinks by this.
        """
        if not sources or not all(0 <= source < hypothesis.size for source in sources):
            raise ValueError(f"{list(sources)} are no members of a batch of {hypothesis.size}")
        if list(sources) == list(range(hypothesis.size)):
            return
        indices = list(sources)
        self._replace_past(hypothesis, lambda past: past[indices])
        hypothesis.size = len(indices)
        if hypothesis.attentions is not None:
            hypothesis.attentions = [list(hypothesis.attentions[source]) for source in indices]

    def _replace_past(
        self, hypothesis: Hypothesis, change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    ) -> None:
        for i in self._layers:
            for name in (f"pk{i}", f"pv{i}"):
                kept = np.ascontiguousarray(change(hypothesis.feeds[name].numpy()))
                hypothesis.feeds[name] = ort.OrtValue.ortvalue_from_numpy(kept)

    def step(
        self,
        hypothesis: Hypothesis,
        tokens: Sequence[int],
        rows: Sequence[int] = (-1,),
        run_options: Any = None,
    ) -> Float32Array:
        """Append tokens to a single decoding.

        Args:
            hypothesis: grown in place; P + S must not exceed n_text_ctx.
            tokens: the S ids to append.
            rows: which of them the logits are wanted after; negative counts from the end.

        Returns:
            float32[len(rows), n_vocab].
        """
        result: Float32Array = self.step_batch(hypothesis, np.asarray(tokens, np.int64)[None], rows, run_options)[
            0
        ]
        return result

    def step_batch(
        self,
        hypothesis: Hypothesis,
        tokens: npt.NDArray[np.int64],
        rows: Sequence[int] = (-1,),
        run_options: Any = None,
    ) -> Float32Array:
        """Append tokens to each decoding of a batch.

        Args:
            hypothesis: grown in place; P + S must not exceed n_text_ctx.
            tokens: int[B, S], the ids to append to each.
            rows: which of the S the logits are wanted after, in all; negative counts from the end.

        Returns:
            float32[B, len(rows), n_vocab].
        """
        if tokens.ndim != 2 or len(tokens) != hypothesis.size:
            raise ValueError(f"tokens of shape {tokens.shape} for a batch of {hypothesis.size}")
        count = tokens.shape[1]
        end = hypothesis.position + count
        if not 0 < count <= end <= len(self._positions):
            raise ValueError(f"{end} tokens exceed a context of {len(self._positions)}")
        embedded = self._embedding.read(tokens).astype(np.float32)
        if self._scale is not None:
            embedded *= self._scale.read(tokens)
        embedded += self._positions[hypothesis.position : end]
        feeds = hypothesis.feeds
        feeds["x"] = ort.OrtValue.ortvalue_from_numpy(embedded)
        feeds["rows"] = ort.OrtValue.ortvalue_from_numpy(np.asarray(rows, np.int64))
        names = self._step_names if hypothesis.attentions is None else self._step_names + self._query_names
        hidden, *values = self._decoder.run_with_ort_values(names, feeds, run_options)
        for i in self._layers:
            feeds[f"pk{i}"], feeds[f"pv{i}"] = values[2 * i], values[2 * i + 1]
        hypothesis.position = end
        if hypothesis.attentions is not None:
            seen = self._attention(feeds, values[2 * len(self._layers) :])
            for looked, member in zip(hypothesis.attentions, seen, strict=True):
                looked.extend(member)
        (logits,) = self._head.run_with_ort_values(["logits"], {"hidden": hidden}, run_options)
        result: Float32Array = logits.numpy()
        return result

    def _attention(self, feeds: dict[str, Any], queries: Sequence[Any]) -> Float32Array:
        """What the decoder's attention has computed for its tokens, once more: float32[B, S, heads, K]."""
        d = self.manifest.dimensions
        by_layer = {
            layer: q.numpy().reshape(*q.shape()[:2], d.n_head, -1)
            for layer, q in zip(self._aligned, queries, strict=True)
        }
        rows = []
        for layer, head in self.manifest.alignment_heads:
            logits = by_layer[layer][:, :, head] @ feeds[f"ck{layer}"].numpy()[0, head].T
            weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
            rows.append(weights / weights.sum(axis=-1, keepdims=True))
        result: Float32Array = np.stack(rows, axis=2)
        return result


class _Rows:
    """A table of which only the rows that are wanted are read: mapped, whole stretches would count as resident."""

    def __init__(self, path: Path, dtype: np.dtype[Any], width: int) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._dtype, self._width = dtype, width

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """[..., width] for int[...]."""
        size = self._width * self._dtype.itemsize
        raw = b"".join(os.pread(self._descriptor, size, size * row) for row in rows.ravel().tolist())
        return np.frombuffer(raw, self._dtype).reshape(*rows.shape, self._width)


def _options(threads: int, awake: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _LOG_ERRORS
    # The graphs are made fused; "basic" is needed to pack the weights without copies of them.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # Lengths differ from clip to clip, so a memory plan made for one does not fit the next; and an arena
    # would keep the peak of the longest clip for ever.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(awake)))
    # Awake within a run only: what burns between two requests burns for nothing.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
