"""The recipes around ONNX Runtime: all that they fetch is pinned, and nothing is fetched later."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from recipe_rules import assignments, complaints, parameters, sources

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT / "recipes-ml" / "onnxruntime", ROOT / "recipes-ml" / "cmake-onnxruntime")
RECIPES = sorted(path for folder in FOLDERS for path in folder.glob("*.bb"))
(ONNXRUNTIME,) = (path for path in RECIPES if path.name.startswith("onnxruntime_"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_every_source_has_its_checksum_and_no_task_has_network(recipe: Path) -> None:
    assert complaints(recipe) == []


def test_there_are_the_recipes_that_onnxruntime_builds_with() -> None:
    named = set(assignments(ONNXRUNTIME)["DEPENDS"].split())
    assert named <= {path.stem.partition("_")[0] for path in RECIPES}


def test_every_patch_in_the_folders_is_used_and_says_where_it_stands() -> None:
    used = {
        entry.partition("://")[2].split(";")[0] for recipe in RECIPES for entry in sources(assignments(recipe))
    }
    patches = [path for folder in FOLDERS for path in folder.rglob("*.patch")]
    assert [path.name for path in patches if path.name not in used] == []


def test_the_version_is_the_one_that_the_daemon_is_tested_with() -> None:
    wanted = re.search(r'"onnxruntime==([0-9.]+)', (ROOT / "service" / "pyproject.toml").read_text("utf-8"))
    assert wanted is not None
    assert assignments(ONNXRUNTIME)["PV"] == wanted[1]


def test_every_dependency_that_is_fetched_is_handed_over_and_the_other_way_round() -> None:
    values = assignments(ONNXRUNTIME)
    fetched = {parameters(entry)["destsuffix"] for entry in sources(values) if "destsuffix=" in entry}
    given = re.findall(r"-DFETCHCONTENT_SOURCE_DIR_[A-Z0-9_]+=\$\{ORT_DEPS\}/(\S+)", values["EXTRA_OECMAKE"])
    assert len(given) == len(set(given)) >= 10
    assert fetched == {f"deps/{name}" for name in given}


def test_every_dependency_has_its_licence_checked() -> None:
    values = assignments(ONNXRUNTIME)
    licensed = set(re.findall(r"file://\$\{ORT_DEPS\}/([^/]+)/", values["LIC_FILES_CHKSUM"]))
    fetched = {parameters(entry)["name"] for entry in sources(values) if "destsuffix=deps/" in entry}
    assert licensed == fetched


def test_the_compiler_of_protocol_buffers_is_of_the_commit_of_its_runtime() -> None:
    (protoc,) = (path for path in RECIPES if path.name.startswith("protoc-"))
    assert assignments(protoc)["SRCREV"] == assignments(ONNXRUNTIME)["SRCREV_protobuf"]


GOOD_COMMIT = "0123456789abcdef0123456789abcdef01234567"
GIT = 'SRC_URI = "git://example.org/a.git;protocol=https;branch=main"'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no SRC_URI"),
        (GIT, "SRCREV is no commit"),
        (f'{GIT}\nSRCREV = "v1.0"', "SRCREV is no commit"),
        (f'{GIT}\nSRCREV = "${{AUTOREV}}"', "AUTOREV"),
        (f'SRC_URI = "git://example.org/a.git;branch=main"\nSRCREV = "{GOOD_COMMIT}"', "protocol=https"),
        (f'SRC_URI = "git://a/b.git;protocol=https;branch=c;name=d"\nSRCREV = "{GOOD_COMMIT}"', "SRCREV_d is no"),
        ('SRC_URI = "https://example.org/a.tar.gz"\nSRC_URI[md5sum] = "0"', "is no SHA-256"),
        ('SRC_URI = "file://gone.patch"', "not in files/"),
        ('SRC_URI = "file://silent.patch"', "no Upstream-Status"),
        ('SRC_URI = "ftp://example.org/a"', "no rule for ftp"),
        (f'{GIT}\nSRCREV = "{GOOD_COMMIT}"\ndo_compile[network] = "1"', "network access"),
    ],
)
def test_the_rules_find_what_they_are_for(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "silent.patch").write_text("--- a\n+++ b\n")
    recipe = tmp_path / "thing_1.0.bb"
    recipe.write_text(text + "\n")
    assert any(complaint in found for found in complaints(recipe)), complaints(recipe)


def test_the_rules_pass_what_is_right(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "small.patch").write_text("Upstream-Status: Pending\n--- a\n+++ b\n")
    (tmp_path / "thing.inc").write_text(
        'SRC_URI = "\\\n    git://a/b.git;protocol=https;branch=r${PV};name=b \\\n    file://small.patch \\\n"\n'
    )
    recipe = tmp_path / "thing_1.0.bb"
    recipe.write_text(f'require thing.inc\nSRCREV_b = "{GOOD_COMMIT}"\n')
    assert complaints(recipe) == []
    assert sources(assignments(recipe))[0] == "git://a/b.git;protocol=https;branch=r1.0;name=b"
