"""Model archives: the same bytes on every PC, and the pins of the recipes."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from layer import bitbake_parse, pack_model  # noqa: E402
from whisperd.errors import BundleError  # noqa: E402

RECIPES = Path(__file__).resolve().parents[2] / "recipes-ml" / "whisper-models"


@pytest.fixture(scope="module")
def bitbake(tmp_path_factory: pytest.TempPathFactory) -> bitbake_parse.BitBake:
    return bitbake_parse.BitBake(tmp_path_factory.mktemp("stand-in"))


@pytest.mark.parametrize("model", ["tiny.en", "base"])
def test_the_recipe_pins_what_the_converter_makes_now(
    model: str, request: pytest.FixtureRequest, tmp_path: Path, bitbake: bitbake_parse.BitBake
) -> None:
    bundle = request.getfixturevalue(model.replace(".", "_"))
    path, sha256 = pack_model.write_archive(bundle, tmp_path)
    assert pack_model.pinned(model) == sha256
    recipe = next(RECIPES.glob(f"{pack_model.recipe_name(model)}_*.bb"))
    data = bitbake.recipe(recipe)
    assert data.getVarFlag("SRC_URI", "sha256sum") == sha256
    assert path.name in data.getVar("SRC_URI")
    assert data.getVar("WHISPER_MODEL") == model


def test_times_owners_and_modes_do_not_change_the_archive(tiny_en: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in sorted(tiny_en.iterdir(), reverse=True):
        (copy / file.name).write_bytes(file.read_bytes())
        os.chmod(copy / file.name, 0o600)
        os.utime(copy / file.name, (1, 1))
    first, second = (pack_model.write_archive(folder, tmp_path / "out") for folder in (tiny_en, copy))
    assert first == second
    with tarfile.open(first[0]) as archive:
        assert {(m.mode, m.uid, m.mtime) for m in archive.getmembers()} == {(0o644, 0, 0)}
        assert sorted(archive.getnames()) == sorted(f"tiny.en/{file.name}" for file in tiny_en.iterdir())
    assert not list((tmp_path / "out").glob(".*"))


def test_a_damaged_bundle_is_not_packed(tiny_en: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tiny_en.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    data = bytearray((copy / "encoder.data").read_bytes())
    data[1000] ^= 1
    (copy / "encoder.data").write_bytes(data)
    with pytest.raises(BundleError, match=r"encoder\.data was changed"):
        pack_model.write_archive(copy, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize("model", ["tiny", "small"])
def test_a_model_without_public_weights_waits_for_the_users_checksum(
    model: str, bitbake: bitbake_parse.BitBake
) -> None:
    recipe = next(RECIPES.glob(f"whisper-model-{model}_*.bb"))
    assert pack_model.pinned(model) is None
    reason = bitbake.skip_reason(recipe)
    assert reason is not None
    assert f"run scripts/pack-model {model} --from" in reason
    assert f"WHISPER_MODEL_SHA256:pn-whisper-model-{model}" in reason
    assert bitbake.skip_reason(recipe, {"WHISPER_MODEL_SHA256": "0" * 64}) is None
    wrong = bitbake.skip_reason(recipe, {"WHISPER_MODEL_SHA256": "abc"})
    assert wrong is not None
    assert "is no SHA-256" in wrong


def test_every_model_installs_into_the_folder_that_the_daemon_is_told_of(bitbake: bitbake_parse.BitBake) -> None:
    for recipe in RECIPES.glob("*.bb"):
        data = bitbake.recipe(recipe, {"WHISPER_MODEL_SHA256": "0" * 64})
        model = data.getVar("WHISPER_MODEL")
        assert data.getVar("PN") == pack_model.recipe_name(model)
        assert f"/usr/share/whisper/models/{model}" in data.getVar("do_install")
