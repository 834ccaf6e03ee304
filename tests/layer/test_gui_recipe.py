"""The GUI's recipe, which BitBake parses only beside meta-qt6: what it takes, makes and installs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rootfs
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from layer import bitbake_parse  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "service" / "qt"
UNIT = SOURCE / "systemd" / "whisper-gui.service"
RECIPE = next((ROOT / "dynamic-layers" / "qt6-layer").glob("recipes-*/whisper-gui/whisper-gui_*.bb"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return bitbake_parse.BitBake(tmp_path_factory.mktemp("stand-in")).recipe(RECIPE)


def unit_values(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_versions_agree() -> None:
    (version,) = re.findall(r"project\(whisper-qt VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text())
    assert RECIPE.name == f"whisper-gui_{version}.bb"
    assert f'QStringLiteral("{version}")' in (SOURCE / "gui" / "application.cpp").read_text()


def test_the_source_is_the_repositorys(recipe: Any) -> None:
    folder = recipe.getVar("FILESEXTRAPATHS").split(":")[0]
    assert Path(folder).resolve() == ROOT
    assert recipe.getVar("SRC_URI").split() == ["file://LICENSE", "file://service/qt"]
    assert recipe.getVar("S").endswith("/service/qt")


def test_the_user_is_the_units_and_in_the_groups_that_it_needs(recipe: Any) -> None:
    useradd = recipe.getVar("USERADD_PARAM:whisper-gui").split()
    assert [useradd[-1]] == unit_values("User")
    groups = set(useradd[useradd.index("--groups") + 1].split(","))
    assert groups == {"whisper", "video", "render", "input"}
    made = {part.split()[-1] for part in recipe.getVar("GROUPADD_PARAM:whisper-gui").split(";")}
    # base-passwd has video and input.
    assert groups | {useradd[useradd.index("--gid") + 1]} == made | {"video", "input"}


def test_the_unit_starts_what_is_installed_on_the_bare_display(recipe: Any) -> None:
    assert recipe.getVar("SYSTEMD_SERVICE:whisper-gui") == UNIT.name
    assert f"systemd/{UNIT.name}" in recipe.getVar("do_install")
    assert unit_values("ExecStart") == [recipe.getVar("bindir") + "/whisper-gui"]
    environment = dict(value.split("=", 1) for value in unit_values("Environment"))
    assert environment["QT_QPA_PLATFORM"] == "eglfs"
    assert environment["XDG_CONFIG_HOME"] == f"/var/lib/{unit_values('StateDirectory')[0]}"


def test_systemd_knows_every_key_of_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        rootfs.skip("tests/layer, the unit of the GUI", "systemd-analyze is not installed")
    program = tmp_path / "whisper-gui"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    def verify(text: str) -> str:
        unit = tmp_path / UNIT.name
        unit.write_text(text.replace("/usr/bin/whisper-gui", str(program)))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return "\n".join(line for line in done.stderr.splitlines() if UNIT.name in line)

    text = UNIT.read_text()
    assert verify(text) == ""
    assert "MemoryMost" in verify(text.replace("MemoryMax", "MemoryMost"))


def test_the_overlay_adds_it_to_the_image() -> None:
    conf = yaml.safe_load((ROOT / "kas" / "qt6.yml").read_text())["local_conf_header"]
    assert 'CORE_IMAGE_EXTRA_INSTALL:append = " whisper-gui"' in conf["gui"]
    # What the recipe requires must not be removed.
    assert "opengl" not in conf["headless"]
