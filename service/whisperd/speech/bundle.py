"""The model bundle: a folder with three ONNX graphs, their weights, a tokenizer and `manifest.json`.

`scripts/convert_model` writes it; docs/models.md describes it. Nothing here imports the model's run-time, so
that a bundle can be checked without loading it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BundleError

#: Version of the bundle's layout. A daemon reads exactly one: an old bundle is converted again.
FORMAT = 4
MANIFEST = "manifest.json"
#: A manifest has some 10 KiB; anything near this is something else.
MAX_MANIFEST_BYTES = 256 * 1024
_BLOCK = 1 << 20
_REMEDY = "make one with scripts/convert_model"


@dataclass(frozen=True)
class Dimensions:
    """Sizes of the model, named as the reference names them (openai/whisper, model.py)."""

    n_mels: int
    n_audio_ctx: int
    n_state: int
    n_head: int
    n_audio_layer: int
    n_text_layer: int
    n_text_ctx: int
    n_vocab: int


@dataclass(frozen=True)
class Tokens:
    """Ids of the tokens that mean something to the decoder. `languages` maps ISO code to id."""

    sot: int
    eot: int
    transcribe: int
    translate: int
    sot_prev: int
    sot_lm: int
    no_speech: int
    no_timestamps: int
    timestamp_begin: int
    languages: Mapping[str, int]


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        name: the model's usual name, such as "base" or "tiny.en".
        precision: "int8" or "fp32".
        tail_stride: positions of 20 ms that each row of the silent tail stands for.
        loudest: log10 mel value that clips are scaled to, for which the tail was computed.
        suppress: token ids never chosen; suppress_begin: nor as the first token of a clip.
        alignment_heads: (decoder layer, head) pairs whose cross-attention follows the audio, at least one.
        files: file name -> (sha256 in hex, size in bytes), all files but the manifest.
    """

    name: str
    precision: str
    dimensions: Dimensions
    tokens: Tokens
    multilingual: bool
    tail_stride: int
    loudest: float
    suppress: tuple[int, ...]
    suppress_begin: tuple[int, ...]
    alignment_heads: tuple[tuple[int, int], ...]
    source: str
    licence: str
    files: Mapping[str, tuple[str, int]]


def load_manifest(bundle: Path) -> Manifest:
    """Read and check a bundle's manifest.

    Raises:
        BundleError: no bundle there, another format, or a field missing or of the wrong kind.
    """
    path = bundle / MANIFEST
    try:
        size = path.stat().st_size
        if size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{path} is {size} bytes long, which no manifest is; {_REMEDY}")
        fields = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"no model bundle in {bundle}: {MANIFEST} is missing; {_REMEDY}") from None
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON ({error}); {_REMEDY}") from None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        found = fields.get("format") if isinstance(fields, dict) else None
        raise BundleError(f"{path} has format {found!r}, this daemon reads {FORMAT}; {_REMEDY}")
    try:
        return _parse(fields)
    except KeyError as error:
        raise BundleError(f"{path} lacks the field {error}; {_REMEDY}") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise BundleError(f"{path} has a wrong field: {error}; {_REMEDY}") from None


def _parse(fields: Mapping[str, Any]) -> Manifest:
    dimensions = Dimensions(**{k: _whole(k, v) for k, v in fields["dimensions"].items()})
    ids = dict(fields["tokens"])
    by_code = {str(code): _whole(code, token) for code, token in ids.pop("languages").items()}
    languages = dict(sorted(by_code.items(), key=lambda item: item[1]))  # the model's own order, en first
    tokens = Tokens(languages=languages, **{k: _whole(k, v) for k, v in ids.items()})
    stride = _whole("tail.stride", fields["tail"]["stride"])
    manifest = Manifest(
        name=str(fields["name"]),
        precision=str(fields["precision"]),
        dimensions=dimensions,
        tokens=tokens,
        multilingual=bool(fields["multilingual"]),
        tail_stride=stride,
        loudest=float(fields["tail"]["loudest"]),
        suppress=tuple(_whole("suppress", t) for t in fields["suppress"]),
        suppress_begin=tuple(_whole("suppress_begin", t) for t in fields["suppress_begin"]),
        alignment_heads=_heads(fields["alignment_heads"], dimensions),
        source=str(fields["source"]),
        licence=str(fields["licence"]),
        files={
            _plain_name(name): (str(entry["sha256"]), _whole(name, entry["bytes"]))
            for name, entry in fields["files"].items()
        },
    )
    ranges = [*manifest.suppress, *manifest.suppress_begin, *languages.values(), *ids.values()]
    if not all(token < dimensions.n_vocab for token in ranges):
        raise ValueError(f"a token id is not below n_vocab = {dimensions.n_vocab}")
    if stride < 1 or dimensions.n_state % max(dimensions.n_head, 1) or not languages:
        raise ValueError("tail.stride, n_state / n_head or languages make no model")
    return manifest


def _whole(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is {value!r}, not a whole number")
    return value


def _heads(pairs: list[list[object]], dimensions: Dimensions) -> tuple[tuple[int, int], ...]:
    heads = tuple((_whole("alignment_heads", layer), _whole("alignment_heads", head)) for layer, head in pairs)
    if not heads or any(i >= dimensions.n_text_layer or head >= dimensions.n_head for i, head in heads):
        raise ValueError(f"alignment_heads {pairs!r} are no heads of this decoder")
    return heads


def _plain_name(name: str) -> str:
    """A manifest must not make the daemon read outside of the bundle."""
    if not name or name != Path(name).name or name in (".", "..", MANIFEST):
        raise ValueError(f"{name!r} is not a file name")
    return name


def verify(bundle: Path, manifest: Manifest | None = None) -> Manifest:
    """Check size and sha256 of every file of a bundle.

    Raises:
        BundleError: naming the first file that is missing, cut short or changed.
    """
    manifest = manifest or load_manifest(bundle)
    for name, (sha256, size) in manifest.files.items():
        path = bundle / name
        digest, length = hashlib.sha256(), 0
        try:
            with path.open("rb", buffering=0) as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    length += len(block)
        except FileNotFoundError:
            raise BundleError(f"{path} is missing from the model bundle; {_REMEDY}") from None
        except OSError as error:
            raise BundleError(f"cannot read {path}: {error.strerror}") from None
        if length != size:
            raise BundleError(f"{path} has {length} bytes, its manifest says {size}; {_REMEDY}")
        if digest.hexdigest() != sha256:
            raise BundleError(f"{path} was changed: its sha256 is not the manifest's; {_REMEDY}")
    return manifest
